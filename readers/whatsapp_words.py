"""
What WhatsApp itself writes where people's words stand, and what is left of a message without it.

iOS puts a left-to-right mark before its own words, in every language; Android and old exports do not, so the phrases of
the common languages are listed: en, de, fr, es, pt, it, nl, sv, da, nb, fi, pl, tr, id, ru.
"""

import re

MARKS = "\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff"  # left-to-right and the like: never seen, never meant
MARK = re.compile(f"[{MARKS}]+")

# am and pm as clocks write them -> the hour they add to; and what may stand between date and time (from: à, kl., klo)
HOURS = dict.fromkeys("am vorm fm ap öö 上午 凌晨 清晨 早上 午前 오전 ص πμ sa пп de قظ".split(), 0)
HOURS |= dict.fromkeys("pm nachm em ip ös 下午 中午 晚上 午後 오후 م μμ ch дп du بظ".split(), 12)
JOINERS = {"", "à", "às", "alas", "kl", "klo", "om", "um", "г", "h", "uhr", "lúc", "в", "o"}

OWN = {  # a whole message, in small letters and without its full stop -> why it is left out
    phrase: reason
    for reason, phrases in {
        "deleted message": """this message was deleted|you deleted this message|this message was deleted by admin
            |diese nachricht wurde gelöscht|du hast diese nachricht gelöscht|ce message a été supprimé
            |vous avez supprimé ce message|se eliminó este mensaje|eliminaste este mensaje|este mensaje fue eliminado
            |este mensaje ha sido eliminado|esta mensagem foi apagada|mensagem apagada|você apagou esta mensagem
            |esta mensagem foi eliminada|apagou esta mensagem|questo messaggio è stato eliminato
            |hai eliminato questo messaggio|dit bericht is verwijderd|je hebt dit bericht verwijderd
            |u hebt dit bericht verwijderd|det här meddelandet har raderats|meddelandet har raderats
            |du raderade det här meddelandet|denne besked blev slettet|du slettede denne besked
            |denne meldingen ble slettet|du slettet denne meldingen|tämä viesti poistettiin|poistit tämän viestin
            |ta wiadomość została usunięta|usunięto tę wiadomość|bu mesaj silindi|bu mesajı sildiniz
            |pesan ini telah dihapus|anda menghapus pesan ini|данное сообщение удалено|вы удалили данное сообщение""",
        "media": """<media omitted>|<medien ausgeschlossen>|<medien weggelassen>|<médias omis>|<fichier omis>
            |<multimedia omitido>|<archivo omitido>|<arquivo de mídia oculto>|<mídia omitida>|<mídia oculta>
            |<ficheiro não revelado>|<media omessi>|<media omesso>|<media weggelaten>|<media utelämnat>
            |<media har utelämnats>|<medier udeladt>|<mediefil udelatt>|<media utelatt>|<media jätettiin pois>
            |<pominięto multimedia>|<medya dahil edilmedi>|<media tidak disertakan>|<без медиафайлов>
            |image omitted|video omitted|audio omitted|gif omitted|sticker omitted|document omitted|video note omitted
            |contact card omitted|bild weggelassen|video weggelassen|audio weggelassen|gif weggelassen
            |sticker weggelassen|dokument weggelassen|kontaktkarte ausgelassen|image absente|vidéo absente|audio omis
            |gif retiré|sticker omis|document omis|imagen omitida|video omitido|vídeo omitido|audio omitido|gif omitido
            |sticker omitido|documento omitido|tarjeta de contacto omitida|imagem ocultada|vídeo ocultado
            |áudio ocultado|gif ocultado|figurinha omitida|documento omitido|cartão do contato omitido
            |immagine omessa|video omesso|audio omesso|gif esclusa|sticker non incluso|documento omesso
            |afbeelding weggelaten|video weggelaten|audio weggelaten|gif weggelaten|sticker weggelaten
            |document weggelaten|bild utelämnad|video utelämnad|ljud utelämnat|gif utelämnad
            |görüntü dahil edilmedi|video dahil edilmedi|ses dahil edilmedi|çıkartma dahil edilmedi""",
        "empty or unsupported message": """null|waiting for this message. this may take a while
            |warten auf diese nachricht. dies kann etwas dauern|esperando este mensaje. puede tardar un poco""",
        "call": """missed voice call|missed video call|missed group voice call|missed group video call
            |verpasster sprachanruf|verpasster videoanruf|appel vocal manqué|appel vidéo manqué|llamada perdida
            |videollamada perdida|chamada de voz perdida|chamada de vídeo perdida|chiamata persa|videochiamata persa
            |gemiste spraakoproep|gemiste video-oproep|missat röstsamtal|missat videosamtal""",
        "location": """live location shared|live-standort wird geteilt|ubicación en tiempo real compartida
            |localisation en direct partagée|localização em tempo real compartilhada|posizione attuale condivisa
            |live locatie gedeeld""",
    }.items()
    for phrase in map(str.strip, phrases.split("|"))
}
ADDED = """file attached|Datei angehängt|fichier joint|archivo adjunto|arquivo anexado|ficheiro anexado|file allegato
    |bestand bijgevoegd|bifogad fil|fil bifogad|fil vedhæftet|fil vedlagt|tiedosto liitetty|dosya ekli|file terlampir
    |файл добавлен|plik dołączony""".replace("\n    ", "")
OMITTED = "|".join(re.escape(phrase) for phrase, reason in OWN.items() if reason == "media")
PAGES = r"(?:^.{0,300}• \u200e?\d+ [^\u200e<\n]{0,30})?"  # what iOS tells of a document: "Plan.pdf • 2 pages "
MEDIA = re.compile(
    rf"{PAGES}\u200e<\u200e?[^<>:\n]{{2,30}}:[^<>\n]{{1,300}}>$"  # iOS, in any language: <attached: 00000012-PHOTO.jpg>
    rf"|{PAGES}<[^<>:\n]{{2,30}}:\s?\d{{8}}-[^<>\n]{{1,300}}>$"  # the same, the mark lost
    rf"|{PAGES}\u200e(?:{OMITTED})$|^(?:{OMITTED})$"
    r"|^\u200e.{1,300}\.\w{0,5} \([^()\n]{1,40}\)$"  # Android, in any language: Plan.pdf (file attached)
    r"|^[A-Z]{3}-\d{8}-WA\d+\.\w{0,5} \([^()\n]{1,40}\)$"  # before Android had the mark
    rf"|^.{{1,300}}\.\w{{0,5}} \((?:{ADDED})\)$",
    re.MULTILINE | re.IGNORECASE,
)
FILE = re.compile(
    r"[^\n]+\.(?:jpe?g|png|webp|gif|mp4|3gp|mov|opus|ogg|m4a|mp3|aac|wav|pdf|docx?|xlsx?|pptx?|zip|txt|csv|vcf|apk)"
)
EDITED = re.compile(
    r"\s*(?:\u200e<[^<>:\n]{5,60}>|<(?:This message was edited|Diese Nachricht wurde bearbeitet"
    r"|Ce message a été modifié|Se editó este mensaje|Mensaje editado|Mensagem editada"
    r"|Questo messaggio è stato modificato|Dit bericht is bewerkt|Dit bericht is gewijzigd"
    r"|Meddelandet redigerades|Det här meddelandet har redigerats"
    r"|Bu mesaj düzenlendi|Данное сообщение изменено|Pesan ini diedit)\.?>)\s*$"
)
LOCATION = re.compile(r"(?:.{0,200}\n){0,2}.{0,200}: ?https://maps\.google\.com/\?q=-?\d[\d.]*,-?\d[\d.]*")
POLL = re.compile(r"(?:POLL|UMFRAGE|SONDAGE|ENCUESTA|ENQUETE|SONDAGGIO|OMRÖSTNING):\n")
ENCRYPTED = re.compile(
    r"(?:Messages|Nachrichten|Les messages|Los mensajes|As mensagens|I messaggi|Berichten|Meddelanden)\b.{0,60}"
    r"(?:end-to-end|Ende-zu-Ende|de bout en bout|de extremo a extremo|de ponta a ponta|totalsträckskrypt)"
)


def words_of(raw, marked):
    """
    (the words of a message without WhatsApp's own, why something was left out or None). marked: iOS wrote it, and
    what begins with its mark is not by a person.
    """
    if raw.isascii() and not ("<" in raw or ")" in raw or "maps.google" in raw or ":\n" in raw):
        plain = raw.strip()
        reason = OWN.get(plain.removesuffix(".").casefold()) if plain else "empty or unsupported message"
        return ("", reason) if reason else (plain, None)
    raw = EDITED.sub("", raw)
    media = [MARK.sub("", match[0]) for match in MEDIA.finditer(raw)]
    plain = MARK.sub("", MEDIA.sub("", raw)).strip()
    if media:  # Android repeats a document's name below; other words are a caption
        named = FILE.fullmatch(plain) or any(name.startswith(plain + ".") for name in media)
        return ("", "media") if named or not plain else (plain, "media, its caption kept")
    if LOCATION.fullmatch(plain):
        return "", "location"
    if not plain:
        return "", "empty or unsupported message"
    reason = OWN.get(plain.removesuffix(".").casefold())
    if not reason and POLL.match(plain):
        reason = "poll"
    if not reason and marked and raw.lstrip().startswith("\u200e"):
        reason = "system line"
    return ("", reason) if reason else (plain, None)
