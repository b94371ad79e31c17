//! Bounds the pipelined requests that are still answered on a connection that has to go.

/// The shortest request: `GET / HTTP/1.0` and two line ends.
const REQUEST_BYTES_MIN: usize = 18;

/// How many requests a connection that has to go still answers. Counted once, because a client may send more as long as
/// it is answered.
#[derive(Debug, Default, Clone, Copy)]
pub struct Pipelined {
    /// The most that can have arrived; `None`: the connection has not had to go yet.
    requests: Option<usize>,
}

impl Pipelined {
    /// Whether another request is served after the one that is about to be answered; `arrived`: the bytes that have
    /// arrived after it.
    pub fn goes_on(&mut self, arrived: usize) -> bool {
        let left = match self.requests {
            None => arrived.div_ceil(REQUEST_BYTES_MIN),
            Some(left) => left.saturating_sub(1),
        };
        self.requests = Some(left);
        left > 0 && arrived > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_arrived_is_owed() {
        let mut owed = Pipelined::default();
        assert!(owed.goes_on(3 * 40) && owed.goes_on(2 * 40) && owed.goes_on(40));
        assert!(!owed.goes_on(0));
        assert!(!Pipelined::default().goes_on(0));
        // The beginning of a request is one.
        assert!(Pipelined::default().goes_on(1));
    }

    /// A client that sends as fast as it is answered comes to an end.
    #[test]
    fn what_comes_later_is_not() {
        let mut owed = Pipelined::default();
        let answered = (0..1_000).take_while(|_| owed.goes_on(16 * 60)).count();
        assert!((16..=54).contains(&answered), "{answered}");
    }
}
