"""How an unlearned model is judged: against models retrained without the forgotten data.

``metrics``, ``membership``, ``lira`` and ``representation`` are measures on arrays;
``requests`` says what is forgotten; ``schedule``, ``pool`` and ``retrain`` make the retrained
models; ``observe`` reads from a model what the measures need; ``attacks`` tries to bring
the forgotten back; ``gates`` decides; ``evaluate`` is the whole way and ``report`` shows it.
"""
