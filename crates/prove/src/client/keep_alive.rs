//! One request after the other on one connection, until the proxy announces its close. An unannounced close is a
//! failure, because it costs a client that does not retry its next request.

use std::sync::Arc;
use std::time::Instant;

use super::{Kind, Load, request_small, up_to_ms};

/// The longest pause between two requests.
const PAUSE_MS: u64 = 15;

pub(super) async fn run(load: Arc<Load>) {
    while !load.is_over() {
        let Some(mut wire) = load.connect(Kind::KeepAlive).await else { continue };
        let mut idle_since: Option<Instant> = None;
        while !load.is_over() {
            let id = load.next_id();
            let before = match idle_since {
                None => "on a new connection".to_owned(),
                Some(since) => {
                    format!(
                        "unannounced, on a connection that was idle for {} ms",
                        since.elapsed().as_millis()
                    )
                }
            };
            match load.count(Kind::KeepAlive, request_small(&mut wire, id, "", &before)).await {
                Some(true) => {}
                Some(false) => {
                    load.tally.announced();
                    break;
                }
                None => break,
            }
            idle_since = Some(Instant::now());
            tokio::time::sleep(up_to_ms(PAUSE_MS, id)).await;
        }
    }
}
