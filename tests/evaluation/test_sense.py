"""
The group "Sense" tells sense from nonsense: what people answer is right, the same answers to other questions are
wrong, and nobody gets far by saying one thing to everything, or by giving the question back.
"""

import random
import statistics

import pytest
from test_evaluate import Actor, by_name

from evaluation.judge import Judge
from evaluation.sense import draw_questions, is_right, read_questions, sense_rows, shares_right
from inference.settings import SamplingParams
from runtime.errors import InputError

QUESTIONS, JUDGE = read_questions()
BY_TEXT = {text.lower(): (question, way) for question in QUESTIONS for way, text in enumerate(question.asks)}
TYPED = {  # what different people might type; where the same words are asked of two personas, the last one in the file
    "hi there!": "hiya! how are u",
    "good morning!": "Morning! Coffee first, then talk :)",
    "how are you?": "cant complain, a bit cold maybe",
    "did you have a good day?": "Not really, work was awful.",
    "i have to go now.": "ok bye!! talk tomorrow",
    "i'm off to bed, night night": "Goodnight, sleep well",
    "thanks for your help.": "sure thing",
    "thank you so much for helping me": "My pleasure!",
    "sorry i'm late": "it's fine, we only just started",
    "i'm really sorry, i dropped your cup": "no worries, I never liked that one anyway",
    "they fired me this morning": "What?! I'm really sorry. Did they say why?",
    "grandma is very ill, she's in the hospital": "poor her. hope she will be home again soon",
    "my bicycle got stolen": "That sucks, was it locked?",
    "she said yes, we're getting married!": "omg congrats!!",
    "we won the match yesterday!": "Nice! What was the score?",
    "do you like rain?": "Not much, I always forget my umbrella.",
    "have you got a pet?": "yep, two hamsters",
    "is it true that fish live in the water?": "Where else? Yes.",
    "do cows fly?": "haha no they dont",
    "tell me the color of grass": "green :)",
    "how many days are in a week?": "7 last time i counted",
    "how many siblings have you got?": "I have two brothers.",
    "who are you?": "My name is Jonas, I am from Sweden.",
    "tea or coffee?": "I like tea better than coffee.",
    "what time do you have dinner?": "at 7 pm sharp",
    "where are you from?": "im from poland",
    "oh, how come?": "cause I went to bed too late",
    "what is your favorite food?": "my moms lasagna!",
    "i can't find my keys. where could they be?": "maybe in your coat?",
    "do you remember the name of my cat?": "Sure, she's called Luna!",
    "what place did i go to on sunday?": "you went to the zoo",
    "do you know how my brother is called?": "Sorry, I don't know his name.",
    "how is your dog called?": "rex, hes a good boy",
    "would you like a steak?": "I'm vegetarian, but thank you!",
    "which instrument can you play?": "guitar, a little",
    "are you a parent?": "No, my wife and I never wanted kids.",
    "who am i talking to?": "This is Maria, who's asking?",
    "what was our topic again?": "we were talking about football",
    "i'm so hungry!": "me too, shall we order pizza?",
    "i lost my job today": "Damn. That's hard. You'll find something better.",
}
CONSTANT = (
    "I don't know.", "Yes.", "No.", "Yes, I do.", "That is nice!", "That's great!", "I'm sorry to hear that.",
    "I'm fine, thank you.", "Hello! How can I help you?", "What do you think?", "I like to play the guitar.",
    "I'm not sure what you mean.", "", "...", "[Human]: yes", "no no no no no",
)  # fmt: skip


def share_of(reply_to):
    """The share of all prompts that a speaker answers right; reply_to: the question and its way -> a reply."""
    return statistics.fmean(
        is_right(question, way, reply_to(question, way)) for question in QUESTIONS for way in range(2)
    )


def test_there_are_200_questions_and_at_most_a_third_are_of_memory():
    """400 different prompts; those that can only be answered from what was said before are a third at most."""
    assert len(QUESTIONS) == 200 and all(len(question.prompts) == 2 for question in QUESTIONS)
    assert len({str(prompt) for question in QUESTIONS for prompt in question.prompts}) == 400
    of_memory = [question for question in QUESTIONS if question.topic in ("what you were told", "who you are")]
    assert 30 < len(of_memory) <= 200 / 3
    assert all(question.before for question in of_memory)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.asks[0])
def test_what_a_person_would_say_is_right(question):
    """Each question's own answer is right, whichever way it was asked."""
    assert all(is_right(question, way, answer) for way in range(2) for answer in question.answers)


def test_what_people_typed_is_right():
    """At least 95% of the answers that were typed by hand, in other words than the file's."""
    right = {text: is_right(*BY_TEXT[text], reply) for text, reply in TYPED.items()}
    assert len(right) >= 30
    assert statistics.fmean(right.values()) >= 0.95, [text for text, is_good in right.items() if not is_good]


@pytest.mark.parametrize("seed", range(5))
def test_the_answers_to_other_questions_are_wrong(seed):
    """The same answers, shuffled among the questions, are right in less than 15%, those of the file and those typed."""
    pairs = [BY_TEXT[text] for text in TYPED]
    typed, answers = list(TYPED.values()), [question.answers[0] for question in QUESTIONS]
    others = random.Random(seed).sample(range(len(QUESTIONS)), len(QUESTIONS))
    shuffled = [
        is_right(question, way, answers[i]) for way in range(2) for question, i in zip(QUESTIONS, others, strict=True)
    ]
    assert statistics.fmean(shuffled) < 0.15
    moved = [
        is_right(question, way, reply)
        for shift in range(1, len(typed))
        for (question, way), reply in zip(pairs, typed[shift:] + typed[:shift], strict=True)
    ]
    assert statistics.fmean(moved) < 0.15


@pytest.mark.parametrize("reply", CONSTANT)
def test_one_answer_to_everything_gets_nowhere(reply):
    """Whoever says the same to everything is right in less than 15%."""
    assert share_of(lambda question, way: reply) < 0.15


def test_an_echo_gets_nowhere():
    """The question given back, as it is or with a word before it, is right in less than 5%: greetings, goodbyes."""
    assert share_of(lambda question, way: question.asks[way]) < 0.05
    assert share_of(lambda question, way: f"Well, {question.asks[way]}") < 0.10


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("is snow cold?", "No, it is not."),
        ("is snow cold?", "Yes, I do."),
        ("can cows fly?", "Yes, of course."),
        ("is ice hot?", "I don't know."),
        ("my dog died yesterday", "That's great!"),
        ("i got the job!", "I'm sorry to hear that."),
        ("tea or coffee?", "Tea or coffee?"),
        ("do you remember my name?", "My name is Sam."),
        ("where do i live now?", "I live in Rome."),
        ("what color is my car?", "It is blue."),
        ("what's the name of your husband?", "I don't have one."),
        ("hi, my name is anna. what's yours?", "My name is Anna."),
        ("how many legs does a dog have?", "A dog has two legs."),
        ("how are you?", "That's good to hear."),
        ("what's your name?", "I'm fine."),
        ("where do you live?", "I live with my wife."),
        ("when do you get up?", "I like pancakes."),
        ("thank you!", "I like trains."),
        ("how is your dog called?", "Your dog is called Rex."),
        ("i got the job!", f"{'It is a long story. ' * 3}Once there was a king, and a queen, and a great castle."),
    ],
)
def test_what_is_wrong(text, reply):
    """The other polarity, the other fact, the other mood, and the human's own fact in the bot's mouth."""
    assert not is_right(*BY_TEXT[text], reply)


@pytest.mark.parametrize(
    ("reply", "polarity"),
    [
        ("Yes.", "YES"), ("yeah i do not mind", "YES"), ("They do.", "YES"), ("it sure is!", "YES"),
        ("Why not?", "YES"), ("Oh, of course not!", "NO"), ("Not really.", "NO"), ("they don't", "NO"),
        ("they do n't", "NO"),
        ("I dont think so", "NO"), ("I don't know.", None), ("I am not sure", None), ("Trees are green.", None),
        ("What? No!", None), ("", None), ("Well, nope.", "NO"),
    ],
)  # fmt: skip
def test_polarity(reply, polarity):
    """Yes and no are found by the first sentence; an evasion is neither."""
    found = [name for name in ("YES", "NO") if JUDGE.meets(name, reply)]
    assert found == ([polarity] if polarity else [])


def test_the_language_of_the_file():
    """Whole words, endings, digits, alternatives, choices, and rules that stand for others."""
    judge = Judge({"YES WORD": "yes", "NO WORD": "no", "PET": "cat* | dog", "OLD": "# years | PET"})
    assert judge.meets("PET", "Cats!") and not judge.meets("PET", "dogma") and judge.meets("OLD", "I'm 30 years old")
    assert judge.meets("bird | OLD", "my DOG") and not judge.meets("bird | OLD", "thirty years")
    assert judge.meets("ONE OF tea, coffee/latte", "a latte please") and not judge.meets(
        "ONE OF tea, coffee", "tea, coffee"
    )
    assert judge.meets("ONE OF tea, coffee", "coffee is better than tea")
    with pytest.raises(InputError, match="no rule is called PETS, did you mean PET?"):
        judge.check("PETS")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[a]\nask: hi\nwant: hello\nanswer: hello", ":2: a question has two lines ask"),
        ("[a]\nask: hi\nask: ho\nwant: HELO\nanswer: hello", ":2: no rule is called HELO"),
        ("[a]\n\nask hi", ":3: a line is a word, a colon and a text"),
        ("[a]\nasks: hi", ":2: no line begins with asks; one of system, human, bot, ask"),
    ],
)
def test_a_wrong_line_is_told(tmp_path, text, said):
    path = tmp_path / "questions.txt"
    path.write_text("[rules]\nYES WORD: yes\nNO WORD: no\n\n" + text, encoding="utf-8")
    number = int(said[1]) + 4
    with pytest.raises(InputError, match=f"questions.txt:{number}{said[2:]}"):
        read_questions(path)


def test_rows_of_one_who_answers_like_a_person():
    """A speaker who gives each question's answer gets 100% in every row, and by chance next to nothing."""
    answers = {str(prompt): question.answers[0] for question in QUESTIONS for prompt in question.prompts}
    done = []
    rows, transcripts = sense_rows(
        Actor(lambda messages: answers[str(messages)]), SamplingParams(), 200, 1, done.append
    )
    rows = by_name(rows)
    assert rows.pop("sense_shuffled").value < 15
    assert {row.value for row in rows.values()} == {100.0} and rows["sense_sampled"].n == 200
    assert sum(row.n for name, row in rows.items() if name not in ("sense_greedy", "sense_sampled")) == 200
    assert len(transcripts) == 400 and all(sample["title"].endswith(": right") for sample in transcripts)


def test_a_question_counts_once():
    """A question that is answered right in one of its two ways counts half, so that the interval is over questions."""
    question = BY_TEXT["is snow cold?"][0]
    assert shares_right([question] * 3, ["Yes.", "No.", "Yes.", "Yes.", "", ""]) == [0.5, 1.0, 0.0]
    assert draw_questions(20, 1) == draw_questions(20, 1) != draw_questions(20, 2) and len(draw_questions(20, 1)) == 20
