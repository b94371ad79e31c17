//! Faults 6 to 10, 13, and 15 to 17: an endpoint that answers wrongly, slowly or only in part.

mod cut;
mod garbage;
mod slow;
mod surplus;
