"""Text that has nothing to do with what is steered: on it a vector should change little."""

NEUTRAL = (
    "The library opens at nine in the morning and closes at six in the evening, except on public holidays.",
    "Water boils at a lower temperature on a mountain, because the pressure of the air is lower there.",
    "The train to the coast leaves from platform four and stops at every station along the river.",
    "Bread is made of flour, water, salt and yeast, which are mixed, left to rise, and baked in an oven.",
    "A triangle has three sides, and its three angles add up to one hundred and eighty degrees.",
    "The committee meets on the first Tuesday of each month in the small room on the second floor.",
    "Granite is a rock that forms deep below the ground, where molten material cools over a long time.",
    "To copy a file, open the folder that holds it, choose the file, and press the button at the top.",
    "The canal was built in the nineteenth century to carry coal from the mines to the harbour.",
    "Bees collect nectar from flowers and carry pollen from one plant to another while they do so.",
    "The survey was sent to two thousand households, of which about half returned it within a month.",
    "A sentence in this book is numbered in the margin, so that readers can refer to it later.",
)
