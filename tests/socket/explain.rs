//! `evenkeel explain` of a running process: what it says is what becomes of requests, and asking changes nothing.

mod agreement;
mod asking;

use serde_json::{Value, json};

use crate::harness::{Client, Proxy};

/// A request as it is asked about and sent: header fields as (name, value).
#[derive(Debug, Clone)]
struct Asked {
    method: String,
    host: String,
    target: String,
    fields: Vec<(String, String)>,
}

impl Asked {
    fn get(target: &str) -> Asked {
        Asked { method: "GET".into(), host: "test.example".into(), target: target.into(), fields: Vec::new() }
    }

    fn with(mut self, name: &str, value: &str) -> Asked {
        self.fields.push((name.into(), value.into()));
        self
    }

    fn lines(&self) -> Vec<String> {
        self.fields.iter().map(|(name, value)| format!("{name}: {value}")).collect()
    }
}

/// What the process says about the request, at its admin address.
#[track_caller]
fn explained(proxy: &Proxy, asked: &Asked) -> Value {
    let question = json!({
        "method": asked.method,
        "url": format!("http://{}{}", asked.host, asked.target),
        "headers": asked.lines(),
    });
    let body = question.to_string();
    let address = format!("unix:{}", proxy.folder().join("admin.sock").display());
    let head = format!(
        "POST /api/v1/explain HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let response = Client::connect(&address).send(head + &body).response().expect(200);
    serde_json::from_slice(&response.body).expect("an explanation is JSON")
}
