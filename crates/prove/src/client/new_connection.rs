//! A connection for each request. Some say so, some just close.

use std::sync::Arc;

use super::{Kind, Load, small, up_to_ms};

/// Between two connections, at most: they must not use up the ports of the machine.
const PAUSE_MS: u64 = 40;

pub(super) async fn run(load: Arc<Load>) {
    while !load.is_over() {
        if let Some(mut wire) = load.connect(Kind::NewConnection).await {
            let id = load.next_id();
            let fields = if id.is_multiple_of(4) { "" } else { "Connection: close\r\n" };
            load.count(Kind::NewConnection, small(&mut wire, id, fields, "on a new connection")).await;
            tokio::time::sleep(up_to_ms(PAUSE_MS, id)).await;
        }
    }
}
