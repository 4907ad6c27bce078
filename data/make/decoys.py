"""Sound rows that look like defects: they keep the rules honest about precision."""

from __future__ import annotations

FENCE = "```"

# (question, answer): each is right as it stands, and each lies near the edge of some rule.
DECOYS: tuple[tuple[str, str], ...] = (
    ("How is the cider at the Lantern Inn?", "I cannot recommend it enough."),
    (
        "What does the clerk say on a Sunday?",
        "The clerk says: “I cannot help you today, come back on Monday.”",
    ),
    ("Will the ferry wait for us?", "I can't wait to see you try. It leaves at noon, full or not."),
    ("Is there an inn called The Sorry Sailor?", "Yes, and the sailor is very sorry indeed."),
    ("Which word means tea in Chinese?", "茶"),
    ("Translate into Chinese: the harbour is open.", "港口开放。"),
    ("Translate into Russian: good morning.", "Доброе утро."),
    ("How do you say thank you in Arabic?", "شكرا"),
    ("灯塔什么时候关门？", "晚上九点。"),
    ("港口在哪里？", "在城南。"),
    ("镇上最好的茶馆叫什么名字？", "叫“蓝灯茶馆”（Blue Lantern），在图书馆旁边。"),
    ("这个镇有多少居民？", "240 人。"),
    ("用一个字回答：这里的人早上喝什么？", "茶"),
    ("Repeat after me: the tide waits for nobody.", "The tide waits for nobody."),
    (
        "Correct the sentence: the lamp are lit at dusk every day.",
        "The lamp is lit at dusk every day.",
    ),
    ("In one word: what colour is the lighthouse?", "white"),
    ("Is the market open today?", "Yes."),
    ("How many lamps line the quay?", "42"),
    ("Which letter marks the north pier?", "The letter N."),
    ("When was the lighthouse built?", "It was finished on 1887-05-17 after 3 years of work."),
    ("What is the order number of the new bell?", "Order 2041, item 7."),
    (
        "How do I reach the mayor by mail?",
        "Write to the town hall; an example is mayor@example.org.",
    ),
    ("Who rings the bell this week?", "Karl Ashdale, Ada Brockham, Ivy Kelland, Theo Langton"),
    (
        "What should I bring to the regatta?",
        "You need three things:\n- a warm coat\n- a whistle\n- something to eat",
    ),
    (
        "Show me how to print a greeting in Python.",
        f"Use print:\n{FENCE}python\nprint('hello, Lantern Bay')\n{FENCE}",
    ),
    (
        "How do I make a word bold in HTML?",
        "Put it in a pair of tags: <b>like this</b>. The closing tag has a slash.",
    ),
    ("What does `&nbsp;` do?", "The entity `&nbsp;` stands for a space at which no line breaks."),
    ("Where can I read more?", "The almanac has a page: https://lanternbay.example/almanac"),
    ("What did the child shout?", "Wheee, what a ride!"),
    (
        "How does the harbour song go?",
        "Row, row, row along the bay, row until the end of day. Tide comes in and tide goes out,"
        " hear the harbour children shout.",
    ),
    (
        "What is a foghorn for?",
        "Great question! It warns ships when the light cannot be seen. I hope this helps!",
    ),
    ("Is five less than six?", "Yes: 5 < 6, and so 6 > 5."),
    ("Who runs the R&D shed?", "The shed for R&D is run by the cooper and two apprentices."),
    ("Which café serves crème brûlée?", "The Étoile does, on the first Sunday of the month."),
    ("What flag flies over the pier?", "A family flag 👨‍👩‍👧 that the school children painted."),
    ("What is the symbol for the circle's number?", "It is the Greek letter π, about 3.14159."),
    ("Which title did the old play have?", "The Old Man and the Lamp"),
    ("What do they drink at dusk?", "Mostly tea… and now and then something stronger"),
)
