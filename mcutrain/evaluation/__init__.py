"""How an unlearned model is judged: against models retrained without the forgotten data.

``metrics``, ``membership``, ``lira`` and ``representation`` are measures on arrays;
``requests`` says what is forgotten; ``schedule`` and ``retrain`` make the retrained models, ``shadows``
those of the likelihood ratio attack, ``history`` devices that exact methods go back on; ``observe``
reads from a model what the measures need; ``attacks`` tries to bring the forgotten back; ``gates``
decides; ``judge`` is the whole way and ``report`` shows it.
"""
