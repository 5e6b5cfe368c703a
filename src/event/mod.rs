//! What happened: written down before it is answered, then delivered.
