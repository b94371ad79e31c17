//! What a response's head must be, and what is made of it.
