//! Answers that are ours, written to the client.

use std::time::Instant;

use crate::client::connection::Client;
use crate::config::Listener;
use crate::exchange::{Failure, Tracked};
use crate::forward::request::{After, Sent};
use crate::http1::framing::{Framing, Version};

/// Notes why the request failed and, if the client has seen nothing of a response yet, says so to it.
pub async fn send(
    client: &mut Client,
    listener: &Listener,
    tracked: &mut Tracked,
    sent: &mut Sent,
    failure: Failure,
    detail: Option<String>,
) -> After {
    tracked.failed(failure, detail);
    // If the time for the request is over, there is still some to say so.
    client.timer.bound(None);
    if sent.status.is_some() || failure.status().as_u16() == 499 {
        return After::Close;
    }
    let keep = keeps(client, failure);
    let answer = tracked.local_reply(failure);
    let bodiless = client.view().method() == "HEAD";
    let mut out =
        format!("HTTP/1.1 {}\r\ndate: {}\r\n", answer.status, client.worker.date(client.now)).into_bytes();
    for (name, value) in &answer.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(if keep { b"\r\n" } else { b"connection: close\r\n\r\n" });
    if !bodiless {
        out.extend_from_slice(answer.body.as_bytes());
        sent.bytes = answer.body.len() as u64;
    }
    sent.status = Some(answer.status.as_u16());
    let told = client.send(&out, listener).await;
    client.now = Instant::now();
    match told {
        Ok(()) if keep => After::KeepAlive,
        Ok(()) => After::Linger,
        // It has gone; there is nobody to tell.
        Err(_) => After::Close,
    }
}

/// Whether the connection may go on: nothing of the request is left on it, and its sender is not suspect.
fn keeps(client: &mut Client, failure: Failure) -> bool {
    let view = client.view();
    let clean = failure.leaves_connection()
        && view.version() == Version::Http11
        && view.framing() == Framing::None
        && view.keep_alive();
    clean && client.may_go_on() && !client.has_to_go()
}
