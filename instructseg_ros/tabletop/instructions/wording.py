"""Words for objects, colors and sizes, and the sentences that contain them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from instructseg_ros.tabletop.world.scene_graph import SceneGraph

SLOT = re.compile(r'\{(\w+)\}')
NAME = re.compile(r'^ *([\w ]+):', re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Grounding:
    """The objects that one phrase of a text describes on its own.

    Attributes:
        start: First character of the phrase in the text.
        end: Character after its last one.
        weights: Label -> 0 to 1; 1 for objects that the phrase describes, 0 for objects not listed.
        group: 'attribute', 'superlative', 'relation' or 'motion'; 'fixed' for words that describe
            no object but must not be exchanged.
    """

    start: int
    end: int
    weights: Mapping[int, float]
    group: str


@dataclass(frozen=True)
class Phrase:
    """A text and the groundings of the phrases within it."""

    text: str
    groundings: tuple[Grounding, ...] = ()


def grounded(text: str, weights: Mapping[int, float], group: str) -> Phrase:
    """Return a phrase with one grounding for all of its text."""
    return Phrase(text, (Grounding(start=0, end=len(text), weights=weights, group=group),))


def compose(template: str, **slots: Phrase) -> Phrase:
    """Fill the `{slot}`s of a template, and shift the groundings to where their words end up."""
    text = ''
    groundings: list[Grounding] = []
    for number, part in enumerate(_parts(template)):
        if number % 2:
            groundings.extend(shifted(slots[part], len(text)))
            text += slots[part].text
        else:
            text += part
    return Phrase(text, tuple(groundings))


def shifted(phrase: Phrase, offset: int) -> list[Grounding]:
    """Return the groundings of a phrase that starts at character `offset` of a longer text."""
    return [
        Grounding(
            start=one.start + offset, end=one.end + offset, weights=one.weights, group=one.group
        )
        for one in phrase.groundings
    ]


@lru_cache(maxsize=1024)
def _parts(template: str) -> tuple[str, ...]:
    """Split a template into literal text and slot names, which are at odd indices."""
    return tuple(SLOT.split(template))


HELD_OUT_SHARE = 0.4
BARE_SHARE = 0.3
PARAPHRASE_SHARE = 0.5

T = TypeVar('T')


@dataclass(frozen=True)
class Wordings:
    """Alternative texts: those that a model is trained with and those held out of training."""

    trained: tuple[str, ...]
    held_out: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Wordings:
        """Read `trained | trained // held out | held out`; line breaks count as spaces."""
        trained, _, held_out = text.partition('//')
        return cls(_alternatives(trained), _alternatives(held_out))

    @classmethod
    def table(cls, text: str) -> dict[str, Wordings]:
        """Read rows of `name: wordings`, each of which ends at the next name."""
        _, *cells = NAME.split(text)
        return {name: cls.parse(row) for name, row in zip(cells[::2], cells[1::2], strict=True)}

    def __add__(self, other: Wordings) -> Wordings:
        return Wordings(self.trained + other.trained, self.held_out + other.held_out)


def _alternatives(text: str) -> tuple[str, ...]:
    return tuple(' '.join(one.split()) for one in text.split('|') if one.strip())


class Writer:
    """Writes an instruction: holds the scene and the random source, and draws the wordings.

    With `held_out`, wordings held out of training are drawn too; the final `sentence` is one of
    them if no earlier draw was.
    """

    def __init__(self, graph: SceneGraph, rng: np.random.Generator, *, held_out: bool) -> None:
        self.graph = graph
        self._rng = rng
        self._held_out = held_out
        self._drew_held_out = False

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self._rng.random() < probability

    def choice(self, options: Sequence[T]) -> T:
        """Draw one of the options, all equally likely."""
        return options[int(self._rng.random() * len(options))]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """Return the options in random order."""
        return [options[i] for i in self._rng.permutation(len(options))]

    def pick(self, wordings: Wordings) -> str:
        """Draw one of the wordings; held-out ones only if they are requested."""
        if self._held_out and wordings.held_out and self.chance(HELD_OUT_SHARE):
            return self._pick_held_out(wordings)
        return self.choice(wordings.trained)

    def sentence(self, wordings: Wordings, **slots: Phrase) -> Phrase:
        """Draw a sentence, fill its slots, and vary case and punctuation as people do."""
        if self._held_out and not self._drew_held_out:
            template = self._pick_held_out(wordings)
        else:
            template = self.pick(wordings)
        return self._typed(compose(template, **slots))

    def request(self, it: Phrase, wordings: Wordings) -> Phrase:
        """Draw a sentence that asks for `it`, or return `it` alone."""
        must_hold_out = self._held_out and not self._drew_held_out
        if not must_hold_out and self.chance(BARE_SHARE):
            return self._typed(it)
        paraphrase = None
        if wordings is SINGULAR_REQUESTS:
            paraphrase = self.paraphrase('request', lambda: {'it': it})
        return paraphrase or self.sentence(wordings, it=it)

    def paraphrase(
        self, meaning: str, slots: Callable[[], Mapping[str, Phrase]] = dict
    ) -> Phrase | None:
        """Draw a whole sentence with this meaning; None if the caller should compose one.

        Args:
            meaning: A key of `PARAPHRASES`.
            slots: Draws what fills the slots, if a sentence is drawn.
        """
        if not self.chance(PARAPHRASE_SHARE):
            return None
        sentence = self.sentence(PARAPHRASES[meaning], **slots())
        return Phrase(sentence.text, (*sentence.groundings, *_fixed(sentence)))

    def _pick_held_out(self, wordings: Wordings) -> str:
        self._drew_held_out = True
        return self.choice(wordings.held_out)

    def _typed(self, phrase: Phrase) -> Phrase:
        text = phrase.text
        if text.endswith('?'):
            text = text if self.chance(0.7) else text[:-1]
        elif text[-1].isalpha() and self.chance(0.2):
            text += '.'
        if self.chance(0.4):
            text = text[0].upper() + text[1:]
        return Phrase(text, phrase.groundings)


def _fixed(sentence: Phrase) -> Iterator[Grounding]:
    """Yield a grounding for all that lies between the groundings of a sentence."""
    edges = [edge for one in sentence.groundings for edge in (one.start, one.end)]
    edges = [0, *sorted(edges), len(sentence.text)]
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if start < end:
            yield Grounding(start=start, end=end, weights={}, group='fixed')


PARAPHRASES: Final = Wordings.table((Path(__file__).parent / 'paraphrases.txt').read_text())
NOUNS = Wordings.table("""
    mug: mug | cup | coffee mug | coffee cup // tea mug
    bowl: bowl | bowl | cereal bowl // soup bowl
    bottle: bottle | water bottle | flask // drink bottle
    can: can | tin | soda can // drink can | soda tin
    box: box | box | carton // gift box | package
    ball: ball | ball | rubber ball // toy ball
    plate: plate | dinner plate | dish // food plate
    spoon: spoon | spoon | soup spoon // cereal spoon
    knife: knife | knife | bread knife // table knife
    banana: banana // banana fruit
    apple: apple // apple fruit
    book: book | book | novel // story book
    car: car | toy car | vehicle // toy vehicle | automobile
    hammer: hammer | hammer | mallet // nail hammer
    pen: pen | pen | marker // marker pen
    teapot: teapot | tea pot // tea kettle
""")
# Nouns of objects that no training scene contains; they are not part of the vocabulary.
NOVEL_NOUNS = Wordings.table("""
    star: star
    stapler: stapler
""")
OBJECT_NOUNS = Wordings.parse('thing | thing | object | item // one')
OBJECT_PLURALS = Wordings.parse('things | things | objects | items')
IRREGULAR_PLURALS = {'knife': 'knives'}

COLORS = Wordings.table("""
    red: red // crimson
    green: green
    blue: blue
    yellow: yellow
    orange: orange
    purple: purple | violet
    pink: pink
    brown: brown
    white: white
    black: black
""")
SIZES = Wordings.table("""
    small: small | little | small | little | small size | little sized // small sized
    medium: medium | medium sized | medium size | mid sized | middle size | average sized
        // middle sized
    large: large | big | large | big | large size | big size // large sized | big sized
""")

BEFORE_NOUN = {
    '': Wordings.parse('{noun}'),
    'color': Wordings.parse("""
        {color} {noun} | {color} {noun} | {color} {noun} | {color} colored {noun} |
        {color} coloured {noun}
    """),
    'size': Wordings.parse('{size} {noun}'),
    'size color': Wordings.parse('{size} {color} {noun} // {size} and {color} {noun}'),
}
AFTER_NOUN = {
    'color': Wordings.parse("""
        {noun} that {is} {color} | {noun} that {is} {color} | {noun} with the color {color} |
        {noun} with the colour {color} | {noun} painted in {color} |
        {noun} which {is} painted {color}
        // {noun} which {is} {color} | {noun} in {color} | {noun} that {is} {color} colored
    """),
    'size': Wordings.parse("""
        {noun} that {is} {size} | {noun} which I find {size} // {noun} which {is} {size}
    """),
    'size color': Wordings.parse("""
        {size} {noun} that {is} {color} | {color} {noun} that {is} {size} |
        {size} {noun} that {is} {color} | {color} {noun} that {is} {size} |
        {size} {noun} painted in {color} | {color} {noun} which I find {size}
        // {size} {noun} which {is} {color} | {noun} that {is} {size} and {color} |
        {color} {noun} which {is} {size} | {size} {noun} with the color {color}
    """),
}

REQUESTS = Wordings.parse("""
    show me {it} | please show me {it} | can you show me {it}? | find {it} | please find {it} |
    can you find {it}? | segment {it} | can you segment {it}? | bring me {it} |
    please bring me {it} | give me {it} | could you give me {it}? | I need {it} | I want {it} |
    I would like to have {it} | look for {it} | I am looking for {it} | point at {it} |
    could you point at {it}? | mark {it} | please mark {it} | get {it} for me | do you see {it}? |
    can you see {it}? | pick up {it} | please pick up {it} | go and get {it} |
    I would like {it}, please | where do you see {it}? | could you find {it} for me? |
    can you get {it}, please? | hand me {it} | fetch {it} | grab {it} | take {it} | look at {it} |
    choose {it} | I want you to find {it} | I need you to bring me {it} |
    please go and get me {it} | could you please show me {it}? | where did I put {it}? |
    what about {it}? | pass me {it} | pass {it} over here | may I have {it}? | how about {it}? |
    would you mind passing me {it}? | I could do with {it} | gimme {it} | get us {it} | um, {it} |
    well, {it}, please | hey robot, {it} | now {it} | next, {it} | I'm after {it} | I'd love {it} |
    go for {it} | reach for {it} | let me have {it} | be so kind as to hand me {it} |
    when you get a chance, bring me {it} | would you be so good as to fetch {it}? |
    I wonder where {it} went | I've been looking for {it} | have you seen {it}? |
    what we need now is {it} | my friend wants {it} | the cook asks for {it} | okay, {it} |
    no wait, {it} | sorry, I meant {it} | actually {it} | this time {it} | lift {it} | hold {it} |
    push {it} over to me | put {it} away | clean {it} | touch {it} | you know, {it} |
    I think I need {it} | please be careful and take {it} | I was told to bring {it} |
    the robot should take {it} | we have to move {it} | just {it} | only {it}, nothing else |
    since my hands are full, get {it} | before it rains, bring in {it} |
    now that we are done, I need {it} | as I said before, {it} | while you are up, grab {it} |
    if it is no trouble, hand me {it} | because I'm late, just pass {it} |
    once you are ready, fetch {it} | when the bell rings, pick up {it} |
    before you go, give me {it} | after that, take {it} | as soon as you are free, bring {it} |
    even though it is late, I want {it} | my mum says I should get {it} | get {it} if you would |
    fetch {it} and be quick about it | bring {it}, there's a dear | take {it}, will you? |
    hand over {it}, if you don't mind | pass {it}, there's a good lad |
    grab {it} before somebody else does | pick {it} for me, thanks | {it}, please and thank you |
    {it}, if you please | {it}, mate | {it}, that's all | {it}, that's what I want |
    {it} is what I need | {it}, where did that go? | {it}, do you see that? | err, {it} I think |
    oh dear, now where did I leave {it}? | hmm, maybe {it} | alright then, {it} |
    listen, I need {it} | gie us {it}, would ye? | I'm wanting {it} |
    will you be fetching me {it}? | chuck us {it}, mate | reckon you could grab {it}? |
    y'all fetch me {it} | I'm fixing to use {it} | kindly do the needful and bring {it} |
    kindly show {it} | please to give {it} | would it be possible to have {it}? |
    might I trouble you for {it}? | do me a favor and get {it} | I'd be grateful for {it} |
    I'd appreciate it if you got {it} | who's got {it}? | who took {it}? | did anybody see {it}? |
    have we got {it} here? | couldn't you just give me {it}? | shall we take {it}? |
    I must have {it} | we could really use {it} | it's {it} that I want | you should see {it} |
    let's have {it} | I've lost {it} | help me find {it} | go on, get {it} | robot, {it}, quick |
    slide {it} to me | drag {it} here | identify {it} | outline {it} | I wanna see {it} |
    the baby cries for {it} | daddy, I want {it} | me want {it} | what I'm looking for is {it} |
    nobody knows where I left {it} | carry {it} to the kitchen | wrap your fingers around {it} |
    draw a line around {it} | my eyes are bad, so please show me {it} |
    I hope you know where I put {it} | bring {it} along, please
    // I want you to show me {it} | please look for {it} | I need you to pick up {it} |
    where can I find {it}? | please go and find {it} for me | could you please point at {it}? |
    locate {it} | highlight {it} | please be so good and bring me {it} | could I get {it}? |
    I think I want {it} | we need to pick up {it} | we are looking for {it} |
    I wonder where I put {it} | please pass me {it} now | would you please fetch {it}? |
    I really need {it} | do find {it} for us | could we have {it}, please? | now go and grab {it} |
    may we see {it}? | well, I want {it} | would you mark {it} for me? | I'd like you to take {it} |
    please take {it} away | mind if I take {it}? | be quick and get {it}
""")
SINGULAR_REQUESTS = REQUESTS + Wordings.parse("""
    where is {it}? | which one is {it}? | tell me where {it} is | do you know where {it} is? |
    where in the picture is {it}? | is {it} around here? | where's {it}? | where has {it} gone? |
    whereabouts is {it}? | {it}, where is it? | is {it} still there? | where would {it} be? |
    what happened to {it}? it was just here | can you see where {it} is? |
    I don't know where {it} is
    // can you tell me where {it} is? | where on the table is {it}? | where could {it} be now? |
    do you see where {it} is?
""")
PLURAL_REQUESTS = REQUESTS + Wordings.parse("""
    where are {it}? | tell me where {it} are | do you know where {it} are? |
    where in the picture are {it}? | are {it} around here? | where have {it} gone? |
    whereabouts are {it}? | {it}, where are they? | are {it} still there? | where would {it} be? |
    can you see where {it} are? | I don't know where {it} are |
    what happened to {it}? they were just here
    // can you tell me where {it} are? | where on the table are {it}? | where could {it} be now? |
    do you see where {it} are?
""")
