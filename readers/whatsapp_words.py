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

EMPTY, NOTHING = "empty or unsupported message", ("", "null")  # Android's word for what may be seen only once
OWN = {  # a whole message, in any case, with or without a full stop -> why it is left out
    written.casefold(): reason
    for reason, phrases in {
        "deleted message": """This message was deleted|You deleted this message|This message was deleted by admin
            |Diese Nachricht wurde gelöscht|Du hast diese Nachricht gelöscht|Ce message a été supprimé
            |Vous avez supprimé ce message|Se eliminó este mensaje|Eliminaste este mensaje|Este mensaje fue eliminado
            |Este mensaje ha sido eliminado|Esta mensagem foi apagada|Mensagem apagada|Você apagou esta mensagem
            |Esta mensagem foi eliminada|Apagou esta mensagem|Questo messaggio è stato eliminato
            |Hai eliminato questo messaggio|Dit bericht is verwijderd|Je hebt dit bericht verwijderd
            |U hebt dit bericht verwijderd|Det här meddelandet har raderats|Meddelandet har raderats
            |Du raderade det här meddelandet|Denne besked blev slettet|Du slettede denne besked
            |Denne meldingen ble slettet|Du slettet denne meldingen|Tämä viesti poistettiin|Poistit tämän viestin
            |Ta wiadomość została usunięta|Usunięto tę wiadomość|Bu mesaj silindi|Bu mesajı sildiniz
            |Pesan ini telah dihapus|Anda menghapus pesan ini|Данное сообщение удалено|Вы удалили данное сообщение""",
        "media": """<Media omitted>|<Medien ausgeschlossen>|<Medien weggelassen>|<Médias omis>|<Fichier omis>
            |<Multimedia omitido>|<Archivo omitido>|<Arquivo de mídia oculto>|<Mídia omitida>|<Mídia oculta>
            |<Ficheiro não revelado>|<Media omessi>|<Media omesso>|<Media weggelaten>|<Media utelämnat>
            |<Media har utelämnats>|<Medier udeladt>|<Mediefil udelatt>|<Media utelatt>|<Media jätettiin pois>
            |<Pominięto multimedia>|<Medya dahil edilmedi>|<Media tidak disertakan>|<Без медиафайлов>
            |image omitted|video omitted|audio omitted|GIF omitted|sticker omitted|document omitted|video note omitted
            |Contact card omitted|Bild weggelassen|Video weggelassen|Audio weggelassen|GIF weggelassen
            |Sticker weggelassen|Dokument weggelassen|Kontaktkarte ausgelassen|image absente|vidéo absente|audio omis
            |GIF retiré|sticker omis|document omis|imagen omitida|video omitido|vídeo omitido|audio omitido|GIF omitido
            |sticker omitido|documento omitido|Tarjeta de contacto omitida|imagem ocultada|vídeo ocultado
            |áudio ocultado|GIF ocultado|figurinha omitida|documento omitido|Cartão do contato omitido
            |immagine omessa|video omesso|audio omesso|GIF esclusa|sticker non incluso|documento omesso
            |afbeelding weggelaten|video weggelaten|audio weggelaten|GIF weggelaten|sticker weggelaten
            |document weggelaten|bild utelämnad|video utelämnad|ljud utelämnat|GIF utelämnad
            |görüntü dahil edilmedi|video dahil edilmedi|ses dahil edilmedi|çıkartma dahil edilmedi""",
        EMPTY: """Waiting for this message. This may take a while
            |Warten auf diese Nachricht. Dies kann etwas dauern|Esperando este mensaje. Puede tardar un poco""",
        "call": """Missed voice call|Missed video call|Missed group voice call|Missed group video call
            |Verpasster Sprachanruf|Verpasster Videoanruf|Appel vocal manqué|Appel vidéo manqué|Llamada perdida
            |Videollamada perdida|Chamada de voz perdida|Chamada de vídeo perdida|Chiamata persa|Videochiamata persa
            |Gemiste spraakoproep|Gemiste video-oproep|Missat röstsamtal|Missat videosamtal""",
        "location": """Live location shared|Live-standort wird geteilt|Ubicación en tiempo real compartida
            |Localisation en direct partagée|Localização em tempo real compartilhada|Posizione attuale condivisa
            |Live locatie gedeeld""",
    }.items()
    for phrase in map(str.strip, phrases.split("|"))
    for written in (phrase, phrase + ".")
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
    r"\s?(?:\u200e<[^<>:\n]{5,60}>|<(?:This message was edited|Diese Nachricht wurde bearbeitet"
    r"|Ce message a été modifié|Se editó este mensaje|Mensaje editado|Mensagem editada"
    r"|Questo messaggio è stato modificato|Dit bericht is bewerkt|Dit bericht is gewijzigd"
    r"|Meddelandet redigerades|Det här meddelandet har redigerats"
    r"|Bu mesaj düzenlendi|Данное сообщение изменено|Pesan ini diedit)\.?>)\s?$"  # not \s*: 60,000 spaces take it 20 s
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
    odd = ">" in raw or " (" in raw or ":\n" in raw or "maps.google" in raw or (not raw.isascii() and MARK.search(raw))
    if not odd:  # for speed, as nearly all messages are
        plain = raw.strip()
        reason = EMPTY if plain in NOTHING else OWN.get(plain.casefold())
        return ("", reason) if reason else (plain, None)
    raw = EDITED.sub("", raw)
    media = [MARK.sub("", match[0]) for match in MEDIA.finditer(raw)]
    plain = MARK.sub("", MEDIA.sub("", raw)).strip()
    if media:  # Android repeats a document's name below; other words are a caption
        named = FILE.fullmatch(plain) or any(name.startswith(plain + ".") for name in media)
        return ("", "media") if named or not plain else (plain, "media, its caption kept")
    if LOCATION.fullmatch(plain):
        return "", "location"
    if plain in NOTHING:
        return "", EMPTY
    reason = OWN.get(plain.casefold())
    if not reason and POLL.match(plain):
        reason = "poll"
    if not reason and marked and raw.lstrip().startswith("\u200e"):
        reason = "system line"
    return ("", reason) if reason else (plain, None)
