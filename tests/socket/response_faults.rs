//! Faults 6 to 17, 20 and 21: an endpoint that answers wrongly, slowly or only in part.

mod cut;
mod framing;
mod garbage;
mod mutated;
mod slow;
mod surplus;
