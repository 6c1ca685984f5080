"""The protocol that makes a probe's number mean something: splits, choice, controls, intervals, verdicts.

`splits` puts entities on sides, `choosing` picks layer and strength on the train side alone, `metrics` and `intervals`
measure on the test side, `controls` and `baselines` say what the number must be held against, and `verdicts` what it
shows. `sweeping`, `transferring` and `leaving` are the three questions asked with them.
"""
