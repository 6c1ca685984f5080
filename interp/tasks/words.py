"""Common words that the tasks are made of.

They are among the commonest, so that most tokenizers have them whole.
"""

MALE = (
    *("John", "James", "Robert", "Michael", "David", "William", "Richard", "Thomas", "Charles", "Daniel", "Mark"),
    *("Paul", "Steven", "Andrew", "George", "Kevin", "Brian", "Edward", "Jason", "Jeff", "Ryan", "Jacob", "Eric"),
    *("Scott", "Frank", "Henry", "Peter", "Adam", "Simon", "Tom", "Jack", "Sam", "Max", "Tim"),
)
FEMALE = (
    *("Mary", "Jennifer", "Linda", "Elizabeth", "Susan", "Jessica", "Sarah", "Karen", "Lisa", "Nancy", "Margaret"),
    *("Emily", "Michelle", "Laura", "Amy", "Anna", "Rebecca", "Helen", "Maria", "Diane", "Julie", "Victoria"),
    *("Kelly", "Christina", "Alice", "Jane", "Rachel", "Claire", "Kate", "Emma", "Julia", "Rose", "Grace", "Sara"),
)
PLACES = ("store", "park", "school", "office", "garden", "hospital", "station", "house", "market", "beach", "museum")
OBJECTS = ("drink", "book", "ring", "ball", "gift", "letter", "coat", "key", "map", "pen", "photo", "ticket", "box")

SINGULAR = (
    *("key", "boy", "car", "teacher", "doctor", "student", "dog", "book", "picture", "farmer", "guard", "lawyer"),
    *("manager", "author", "pilot", "writer", "singer", "officer", "parent", "friend", "letter", "chair"),
)
"""Nouns whose plural adds an s."""

CAPITALS = {
    "France": "Paris",
    "Germany": "Berlin",
    "Italy": "Rome",
    "Spain": "Madrid",
    "Japan": "Tokyo",
    "China": "Beijing",
    "Russia": "Moscow",
    "Egypt": "Cairo",
    "Greece": "Athens",
    "England": "London",
    "Austria": "Vienna",
    "Portugal": "Lisbon",
    "Ireland": "Dublin",
    "Poland": "Warsaw",
    "Sweden": "Stockholm",
    "Norway": "Oslo",
    "Denmark": "Copenhagen",
    "Cuba": "Havana",
    "Peru": "Lima",
    "Canada": "Ottawa",
    "Iraq": "Baghdad",
    "Iran": "Tehran",
    "Turkey": "Ankara",
    "Kenya": "Nairobi",
    "Thailand": "Bangkok",
    "Belgium": "Brussels",
    "Hungary": "Budapest",
    "Finland": "Helsinki",
}
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
EVENTS = ("war", "siege", "voyage", "project", "campaign", "marriage", "strike", "exhibition", "dynasty", "famine")
ARGUMENTS = (
    *("file", "name", "size", "path", "data", "key", "value", "mode", "text", "list", "line", "code", "node", "time"),
    *("user", "model", "index", "state", "token", "image", "label", "order", "field", "event"),
)
FUNCTIONS = ("load", "save", "send", "open", "find", "read", "build", "check", "run", "update")
KEYS = ("cat", "dog", "bird", "fish", "horse", "mouse", "lion", "bear", "wolf", "sheep", "cow", "duck", "fox", "snake")
VALUES = ("red", "blue", "green", "black", "white", "yellow", "brown", "pink", "grey", "orange", "purple", "gold")
