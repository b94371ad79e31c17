//! The lines of a tap as a response that goes on: JSON lines, lines of text, or server-sent events.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Response, Version};
use pingora_core::protocols::http::ServerSession;
use tokio::time::{Instant, interval, sleep_until, timeout};

use crate::telemetry::tap::{Tap, TapFormat};

/// How often the queues are looked at: workers wake nobody.
const TICK: Duration = Duration::from_millis(50);

/// How long a reader may take nothing while there is something for it, such as one that was stopped.
const STALL_LIMIT: Duration = Duration::from_mins(5);

/// How often server-sent events have a comment, so that nobody on the way takes the connection for a dead one.
const COMMENT_EVERY: Duration = Duration::from_secs(15);

/// How the lines are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamForm {
    Json,
    Text,
    /// Server-sent events, with the lines of the JSON as their data.
    Events,
}

pub(super) struct Stream {
    pub tap: Tap,
    pub form: StreamForm,
    pub count: Option<u64>,
    pub limit: Option<Duration>,
}

/// Pieces that are sent before it is asked whether the reader is still there: more than fit the queues.
const PIECES_MAX: usize = 128;

impl StreamForm {
    pub fn of(headers: &HeaderMap, format: TapFormat) -> Self {
        let accepts_events = || {
            let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
            accepted.any(|value| value.split(',').any(|one| one.trim().starts_with("text/event-stream")))
        };
        match format {
            TapFormat::Text { .. } => Self::Text,
            TapFormat::Json if accepts_events() => Self::Events,
            TapFormat::Json => Self::Json,
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/x-ndjson",
            Self::Text => "text/plain; charset=utf-8",
            Self::Events => "text/event-stream",
        }
    }

    fn head(self, version: Version) -> Response<()> {
        let mut response = Response::new(());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type()));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if version != Version::HTTP_10 {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        response
    }

    fn piece(self, lines: &[u8]) -> Bytes {
        match self {
            Self::Json | Self::Text => Bytes::copy_from_slice(lines),
            Self::Events => {
                let lines = lines.split_inclusive(|byte| *byte == b'\n');
                lines.flat_map(|line| [&b"data: "[..], line, b"\n"]).flatten().copied().collect()
            }
        }
    }

    /// Says that lines are missing.
    fn dropped(self, count: u64) -> Bytes {
        match self {
            Self::Json => format!("{{\"dropped\":{count}}}\n").into(),
            Self::Events => format!("data: {{\"dropped\":{count}}}\n\n").into(),
            Self::Text if count == 1 => {
                "1 request was not shown: there are more than its reader takes\n".into()
            }
            Self::Text => {
                format!("{count} requests were not shown: there are more than their reader takes\n").into()
            }
        }
    }
}

impl Stream {
    pub async fn run(mut self, mut session: ServerSession) {
        let head = self.form.head(session.req_header().version).into_parts().0;
        let until = self.limit.map(|limit| Instant::now() + limit);
        let mut ticks = interval(TICK);
        let mut quiet_since = Instant::now();
        if session.write_response_header(Box::new(head.into())).await.is_err() {
            return;
        }
        loop {
            let ends = tokio::select! {
                biased;
                // The reader has gone, or sends what nobody has asked for.
                _ = session.read_body_or_idle(true) => return,
                () = end(until) => true,
                _ = ticks.tick() => false,
            };
            match self.pass_on(&mut session).await {
                None => return,
                Some(0) if self.form == StreamForm::Events && quiet_since.elapsed() >= COMMENT_EVERY => {
                    quiet_since = Instant::now();
                    if !write(&mut session, ":\n\n".into()).await {
                        return;
                    }
                }
                Some(0) => {}
                Some(_) => quiet_since = Instant::now(),
            }
            if ends || self.count == Some(0) {
                break;
            }
        }
        let _ = timeout(STALL_LIMIT, session.finish()).await;
    }

    /// Sends what there is, and says how many pieces that were; `None`: the reader takes no more.
    async fn pass_on(&mut self, session: &mut ServerSession) -> Option<usize> {
        for sent in 0..PIECES_MAX {
            match self.next_piece() {
                None => return Some(sent),
                Some(piece) => {
                    if !write(session, piece).await {
                        return None;
                    }
                }
            }
        }
        Some(PIECES_MAX)
    }

    fn next_piece(&mut self) -> Option<Bytes> {
        if self.count == Some(0) {
            return None;
        }
        let dropped = self.tap.newly_dropped();
        if dropped > 0 {
            return Some(self.form.dropped(dropped));
        }
        let lines = first_lines(self.tap.next_lines()?, &mut self.count);
        Some(self.form.piece(lines))
    }
}

/// As many of the lines as are left to be shown.
fn first_lines<'a>(lines: &'a [u8], left: &mut Option<u64>) -> &'a [u8] {
    let Some(left) = left else { return lines };
    let mut ends = lines.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let mut end = 0;
    while *left > 0
        && let Some(next) = ends.next()
    {
        end = next;
        *left -= 1;
    }
    lines.get(..end).unwrap_or_default()
}

async fn end(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

async fn write(session: &mut ServerSession, piece: Bytes) -> bool {
    matches!(timeout(STALL_LIMIT, session.write_response_body(piece, false)).await, Ok(Ok(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_lines_than_are_left() {
        let lines = b"one\ntwo\nthree\n";
        for (left, shown, rest) in [
            (None, &lines[..], None),
            (Some(2), &b"one\ntwo\n"[..], Some(0)),
            (Some(9), &lines[..], Some(6)),
            (Some(0), &b""[..], Some(0)),
        ] {
            let mut count = left;
            assert_eq!((first_lines(lines, &mut count), count), (shown, rest), "{left:?}");
        }
    }

    #[test]
    fn each_line_is_an_event() {
        assert_eq!(StreamForm::Events.piece(b"{\"a\":1}\n{}\n"), "data: {\"a\":1}\n\ndata: {}\n\n");
        assert_eq!(StreamForm::Json.dropped(12), "{\"dropped\":12}\n");
    }
}
