"""Learning: recipes that train the scorer and the writers, and the export of what they learnt. Imports mediator."""
