"""How well the fill of a shot agrees with what other frames show. Works on arrays, and knows no network."""
