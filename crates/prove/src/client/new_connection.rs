//! A connection for each request. Most requests announce the close with `Connection: close`, some do not.

use std::sync::Arc;

use super::{Kind, Load, request_small, up_to_ms};

/// The longest pause between two connections, which must not use up the machine's ports.
const PAUSE_MS: u64 = 40;

pub(super) async fn run(load: Arc<Load>) {
    while !load.is_over() {
        if let Some(mut wire) = load.connect(Kind::NewConnection).await {
            let id = load.next_id();
            let fields = if id.is_multiple_of(4) { "" } else { "Connection: close\r\n" };
            load.count(Kind::NewConnection, request_small(&mut wire, id, fields, "on a new connection"))
                .await;
            tokio::time::sleep(up_to_ms(PAUSE_MS, id)).await;
        }
    }
}
