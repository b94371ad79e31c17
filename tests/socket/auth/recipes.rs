//! The recipes of `docs/auth.md` for known auth services, each with a stand-in that answers as its service is documented.

use crate::harness::{Endpoint, Exchange, Proxy};

/// A proxy whose route has the `auth` that `docs/auth.md` shows for the service at this address.
fn start(address: &str, service: &Endpoint, endpoint: &Endpoint) -> Proxy {
    let docs = include_str!("../../../docs/auth.md");
    let mut blocks = docs.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let block = blocks.find(|block| block.contains(address)).expect("a recipe with this address");
    let builder = Proxy::to([endpoint]);
    let route = "  - { name: default, pool: default }\n";
    assert!(builder.text().contains(route));
    let own = format!("  - name: default\n    pool: default\n{}", block.replace(address, service.address()));
    let text = builder.text().replace(route, &own);
    builder.yaml(text).start()
}

/// The path that the service is asked about, as it is told.
fn asked(exchange: &Exchange) -> String {
    exchange.header("x-forwarded-uri").unwrap_or_default().to_owned()
}

/// <https://www.authelia.com/reference/guides/proxy-authorization/>: the implementation ForwardAuth takes
/// X-Forwarded-Method, -Proto, -Host, -URI and -For; it redirects browsers with 302, and refuses others with 401.
#[test]
fn authelia() {
    let service = Endpoint::scripted("authelia", |exchange| {
        let told = [
            "x-forwarded-method",
            "x-forwarded-proto",
            "x-forwarded-host",
            "x-forwarded-uri",
            "x-forwarded-for",
        ];
        if exchange.target() != "/api/authz/forward-auth"
            || told.iter().any(|name| exchange.header(name).is_none())
        {
            return exchange.status("400 Bad Request", "", "");
        }
        let url = format!("https%3A%2F%2F{}", exchange.header("x-forwarded-host").unwrap_or_default());
        if exchange.header("cookie").is_some_and(|cookie| cookie.contains("authelia_session=")) {
            let user = "Remote-User: john\r\nRemote-Groups: admins,dev\r\nRemote-Name: John\r\nRemote-Email: j@x\r\n";
            return exchange.answer_with(user, "200 OK");
        }
        let html = exchange.header("accept").is_some_and(|accept| accept.contains("text/html"));
        let location = format!("Location: https://auth.example.com/?rd={url}&rm=GET\r\n");
        exchange.status(if html { "302 Found" } else { "401 Unauthorized" }, &location, "");
    });
    let endpoint = Endpoint::named("a");
    let proxy = start("127.0.0.1:9091", &service, &endpoint);
    let stranger = proxy.client().request("GET", "/x", "Accept: text/html\r\n").expect(302);
    assert!(stranger.header("location").is_some_and(|to| to.starts_with("https://auth.example.com/?rd=")));
    proxy.client().request("GET", "/x", "Remote-User: john\r\n").expect(401);
    assert_eq!(endpoint.count(), 0);
    proxy.client().request("GET", "/in", "Cookie: authelia_session=1\r\nRemote_Groups: x\r\n").expect(200);
    let seen = endpoint.seen("/in");
    assert_eq!(
        (seen.header("remote-user"), seen.header("remote-groups")),
        (Some("john"), Some("admins,dev"))
    );
    assert!(!seen.head.raw.to_lowercase().contains("remote_groups"), "{}", seen.head.raw);
}

/// <https://docs.goauthentik.io/add-secure-apps/providers/proxy/forward_auth/>: the outpost's `auth/caddy` takes
/// X-Forwarded-*, and redirects to its own start, which the same host serves under `/outpost.goauthentik.io`.
#[test]
fn authentik() {
    let service = Endpoint::scripted("authentik", |exchange| {
        let uri = asked(exchange);
        match exchange.header("cookie").is_some_and(|cookie| cookie.contains("authentik_proxy_")) {
            _ if exchange.target() != "/outpost.goauthentik.io/auth/caddy" => {
                exchange.status("404 Not", "", "")
            }
            true => exchange.answer_with(
                "X-authentik-username: akadmin\r\nX-authentik-groups: admins|users\r\n\
                 Set-Cookie: authentik_proxy_1=new; Path=/\r\n",
                "",
            ),
            false => {
                let start = format!(
                    "Location: http://x/outpost.goauthentik.io/start?rd={uri}\r\nSet-Cookie: authentik_proxy_1=s\r\n"
                );
                exchange.status("302 Found", &start, "");
            }
        }
    });
    let endpoint = Endpoint::named("a");
    let proxy = start("127.0.0.1:9000", &service, &endpoint);
    let stranger = proxy.client().request("GET", "/x?a=b", "X-Authentik-Username: root\r\n").expect(302);
    assert_eq!(stranger.header("location"), Some("http://x/outpost.goauthentik.io/start?rd=/x?a=b"));
    assert!(stranger.header("set-cookie").is_some());
    assert_eq!(endpoint.count(), 0);
    let fields = "Cookie: authentik_proxy_1=s\r\nX_Authentik_Username: root\r\nX-authentik-jwt: forged\r\n";
    let known = proxy.client().request("GET", "/in", fields).expect(200);
    assert_eq!(known.header("set-cookie"), Some("authentik_proxy_1=new; Path=/"));
    let seen = endpoint.seen("/in");
    assert_eq!(seen.header("x-authentik-username"), Some("akadmin"));
    assert!(!seen.head.has("x-authentik-jwt") && !seen.head.raw.contains("root"), "{}", seen.head.raw);
}

/// <https://oauth2-proxy.github.io/oauth2-proxy/configuration/integration>: `/oauth2/auth` answers 202 or 401, and with
/// `--set-xauthrequest` says who it is.
#[test]
fn oauth2_proxy() {
    let service = Endpoint::scripted("oauth2-proxy", |exchange| {
        match exchange.header("cookie").is_some_and(|cookie| cookie.contains("_oauth2_proxy=")) {
            _ if exchange.target() != "/oauth2/auth" => exchange.status("404 Not", "", ""),
            true => exchange.status(
                "202 Accepted",
                "X-Auth-Request-User: u1\r\nX-Auth-Request-Email: u@x\r\n",
                "",
            ),
            false => exchange.status("401 Unauthorized", "", "Unauthorized\n"),
        }
    });
    let endpoint = Endpoint::named("a");
    let proxy = start("127.0.0.1:4180", &service, &endpoint);
    let forged = "X_Auth_Request_User: root\r\nX-Auth-Request-Email: root@x\r\n";
    proxy.client().request("GET", "/x", forged).expect(401);
    assert_eq!(endpoint.count(), 0);
    proxy.client().request("GET", "/in", &format!("{forged}Cookie: _oauth2_proxy=1\r\n")).expect(200);
    let seen = endpoint.seen("/in");
    assert_eq!(
        (seen.header("x-auth-request-user"), seen.header("x-auth-request-email")),
        (Some("u1"), Some("u@x"))
    );
    assert!(!seen.head.raw.contains("root"), "{}", seen.head.raw);
}
