//! Cookies of a request (RFC 6265, section 4.2).

use http::header;

use super::RequestHead;

/// The value of the first cookie of that name, as the client sent it.
pub fn cookie<'a>(head: &'a impl RequestHead, name: &str) -> Option<&'a [u8]> {
    head.values(&header::COOKIE).flat_map(|line| line.split(|byte| *byte == b';')).find_map(|pair| {
        let value = pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_name_counts_wherever_it_is() {
        let head = |lines: &[&str]| {
            let mut request = http::Request::builder();
            for line in lines {
                request = request.header(header::COOKIE, *line);
            }
            request.body(()).expect("a request").into_parts().0
        };
        for (lines, value) in [
            (&["a=1; b=2"][..], Some("2")),
            (&["a=1", "x=0;b=2; b=3"], Some("2")),
            (&["ab=1; c=b=2"], None),
            (&["b="], Some("")),
            (&["b"], None),
            (&[], None),
        ] {
            let head = head(lines);
            assert_eq!(cookie(&head, "b"), value.map(str::as_bytes), "{lines:?}");
        }
    }
}
