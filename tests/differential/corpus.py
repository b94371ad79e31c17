"""The corpus: requests made of known ideas for desynchronisation, and random mutations of them.

Everything follows from the seed. A payload is what one client sends on a connection of its own; its name is its family,
a dash-separated note and a number that is the same in each run.
"""

import random
from dataclasses import dataclass

HOST = b"desync.example"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: desync.example\r\n\r\n"
CHUNKED = b"5\r\nhello\r\n0\r\n\r\n"


@dataclass(frozen=True)
class Payload:
    name: str
    sent: bytes

    @property
    def family(self) -> str:
        return self.name.split("/")[0]


def request(
    method: bytes = b"GET",
    target: bytes = b"/x",
    version: bytes = b"HTTP/1.1",
    fields: list[bytes] | None = None,
    body: bytes = b"",
    host: bytes | None = b"Host: " + HOST,
) -> bytes:
    lines = [method + b" " + target + b" " + version]
    lines += [host] if host is not None else []
    lines += fields or []
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


# Bytes that somebody's parser treats in a way of its own.
ODD_BYTES = [bytes([n]) for n in [*range(0, 33), 0x7F, 0x80, 0x85, 0xA0, 0xAD, 0xC2, 0xFF]]
PUNCTUATION = [bytes([n]) for n in b"\"(),/:;<=>?@[\\]{}#%&'*+!$^_`|~-."]

LENGTHS = [
    b"5", b"0", b"05", b"005", b"+5", b"-5", b"-0", b"5.0", b"5e0", b"0x5", b"0b101", b"0o5", b"5 5", b"5, 5", b"5,5", b"5, 6",
    b"6, 5", b"5,", b",5", b"5;", b"5 ;", b"5\t", b"\t5", b"\x0b5", b"5\x0b", b"5\x0c", b"5\x00", b"\x005", b"5\xa0", b"\xa05",
    b"", b" ", b"five", b"5 hello", b"'5'", b'"5"', b"5\r", b"\r5", b"18446744073709551621", b"4294967301",
    b"9223372036854775808", b"9223372036854775807", b"99999999999999999999999999", b"00000000000000000000000005",
    b"\xef\xbc\x95", b"\xd9\xa5", b"5_0", b"0_5", b"5L", b"#5", b"(5)", b"5()", b"NaN", b"Infinity", b"true",
]

ENCODINGS = [
    b"chunked", b"Chunked", b"CHUNKED", b"chunKed", b" chunked", b"chunked ", b"\tchunked", b"chunked\t", b"\x0bchunked",
    b"chunked\x0b", b"\x0cchunked", b"chunked\x0c", b"\x00chunked", b"chunked\x00", b"chun\x00ked", b"\x01chunked", b"chunked\x7f",
    b"\xa0chunked", b"chunked\xa0", b"\xffchunked", b"chunked\r", b"\rchunked", b"chunked;q=1", b"chunked;", b";chunked",
    b"chunked,", b",chunked", b", chunked", b"chunked, chunked", b"chunked,chunked", b"chunked, identity", b"identity, chunked",
    b"identity", b"gzip, chunked", b"chunked, gzip", b"gzip", b"deflate, chunked", b"x, chunked", b"xchunked", b"chunkedx",
    b"chunk", b"chunke", b"cow", b"x", b"", b" ", b'"chunked"', b"'chunked'", b"(chunked)", b"chunked (x)", b"chunked/1",
    b"chunked=1", b"chunked:", b":chunked", b"{chunked}", b"[chunked]", b"ch\xc5\xabnked", b"chun\xe2\x84\xaaed", b"chunked\x85",
    b"trailers, chunked", b"chunked trailers", b"chunked\tchunked", b"chunked chunked", b"none", b"0", b"null", b"\\chunked",
]

HOSTS = [
    b"desync.example", b"DESYNC.example", b"desync.example.", b"desync.example:80", b"desync.example:", b"desync.example:0",
    b"desync.example:65536", b"desync.example:080", b"desync.example:+80", b"desync.example:80:80", b"desync.example:x", b"", b" ",
    b"\tdesync.example", b"desync.example\t", b"desync.example, other.example", b"desync.example,other.example", b"desync.example/",
    b"desync.example/path", b"http://desync.example", b"user@desync.example", b"user:pass@desync.example", b"desync.example?x",
    b"desync.example#x", b"desync.example;x", b"desync example", b"desync.example other.example", b"desync..example", b".desync",
    b"desync.example..", b"-desync.example", b"desync_.example", b"%64esync.example", b"desync%2eexample", b"desync.example%00",
    b"127.0.0.1", b"127.0.0.1:80", b"127.1", b"2130706433", b"0x7f.1", b"[::1]", b"[::1]:80", b"[::1", b"::1", b"[::1]x", b"[fe80::1%25lo]",
    b"[fe80::1%lo]", b"[]", b"[x]", b"[1.2.3.4]", b"[v1.x]", b"*", b"*.example", b"localhost", b"d\xc3\xa9sync.example", b"\xffx",
    b'"desync.example"', b"<desync>", b"desync|x", b"desync^x", b"desync`x", b"{desync}", b"desync\\x", b"desync'x", b"$(x)", b"a" * 64,
    b"a" * 260, b"desync.example\x00", b"desync\x00.example", b"desync.example\x0b", b"desync.example\r", b"desync.example\x7f",
    b"desync.example\xa0", b"&", b"!", b"a~b", b"a+b", b"a=b", b"(a)", b"xn--dsync-bsa.example",
]

TARGETS = [
    b"/", b"/x?y=z", b"/a/../b", b"/a/./b", b"//a", b"/a//b", b"/%2e%2e/a", b"/a%2fb", b"/a%5cb", b"/a%00b", b"/a%0d%0ab", b"/a%",
    b"/a%4", b"/a%zz", b"/a;b=c", b"/a:b", b"/a@b", b"/|", b"/[x]", b"/{x}", b"/^", b"/`", b"/\\", b"/a\\..\\b", b'/"', b"/<x>", b"/#x",
    b"/x#y?z", b"/?a[]=1", b"/?a={b}|c^`", b"/?a=\\", b'/?a="b"', b"/?a=<b>", b"/?a#b", b"/?%zz", b"/?a=%00", b"/?a?b", b"/?", b"/??",
    b"*", b"**", b"/*", b"*/x", b"", b"x", b"x/y", b"?x", b"#x", b".", b"..", b"../x", b"./x", b";x", b":80", b"@x", b"%2f", b"\\x",
    b"http://desync.example", b"http://desync.example/", b"http://desync.example/x", b"http://desync.example?x", b"http://desync.example#x",
    b"HTTP://DESYNC.EXAMPLE/x", b"http://desync.example:80/x", b"http://desync.example:/x", b"http://desync.example:81/x",
    b"http://other.example/x", b"http://user@desync.example/x", b"http://u:p@desync.example/x", b"http:/desync.example/x",
    b"http:///x", b"http:desync.example", b"http://", b"http:", b"http", b"https://desync.example/x", b"https://desync.example:443/x",
    b"ftp://desync.example/x", b"javascript:x", b"file:///etc/passwd", b"ws://desync.example/x", b"h2c://desync.example/x",
    b"x://desync.example/x", b"//desync.example/x", b"//other.example/x", b"desync.example", b"desync.example:80", b"desync.example:443",
    b"http://[::1]/x", b"http://[::1/x", b"http://desync.example\\@other.example/", b"http://desync.example%00/x",
    b"http://desync.example/ HTTP/1.1", b"/x y", b"/x HTTP/1.1 y", b"/x\ty", b"/x\x0by", b"/x\x0cy", b"/x\xc3\xa9", b"/\xff", b"/x\x7f",
    b"/x\x00y", b"/x\x01y", b"/" + b"a" * 7000, b"/" + b"a" * 9000, b"/" + b"a" * 70000,
]

VERSIONS = [
    b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/1.9", b"HTTP/1.10", b"HTTP/1.01", b"HTTP/01.1", b"HTTP/1", b"HTTP/1.", b"HTTP/.1",
    b"HTTP/0.9", b"HTTP/2", b"HTTP/2.0", b"HTTP/3.0", b"HTTP/9.9", b"HTTP/-1.1", b"HTTP/+1.1", b"HTTP/1,1", b"HTTP/1 .1", b"HTTP /1.1",
    b"HTTP/ 1.1", b"HTTP\\1.1", b"http/1.1", b"Http/1.1", b"HTTPS/1.1", b"HTTP1.1", b"HTTP", b"XHTTP/1.1", b"ICY/1.1", b"HTTP/1.1x",
    b"HTTP/1.1 ", b"HTTP/1.1\t", b" HTTP/1.1", b"\tHTTP/1.1", b"HTTP/1.1 x", b"HTTP/1.1\x00", b"HTTP/1.1\x0b", b"HTTP/1.1\r", b"HTTP/1.1;",
    b"HTTP/0x1.1", b"HTTP/1.1.1", b"HTTP/A.B", b"", b"\xefHTTP/1.1", b"HTTP/11", b"RTSP/1.0", b"HTTP/1.\xd9\xa1",
]

METHODS = [
    b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"CONNECT", b"PROPFIND", b"SEARCH", b"PURGE", b"PRI",
    b"get", b"Get", b"gET", b"post", b"GETX", b"XGET", b"G", b"", b" ", b"\tGET", b"GET\t", b"G ET", b"G\tET", b"G,ET", b"G:ET", b"G;ET",
    b"G/ET", b"G=ET", b"(GET)", b"<GET>", b'"GET"', b"G@ET", b"G[ET", b"G{ET", b"G\\ET", b"G?ET", b"M-SEARCH", b"VERSION-CONTROL", b"!#$%&'*+-.^_`|~",
    b"GET\x00", b"G\x00ET", b"\x00GET", b"GET\x0b", b"\x7fGET", b"G\xc3\x89T", b"\xffGET", b"\xef\xbb\xbfGET", b"A" * 32, b"A" * 33,
    b"A" * 300, b"0", b"123", b"HTTP/1.1", b"GET GET", b"*", b"-", b"_",
]

SIZES = [
    b"5", b"05", b"0005", b"0000000000000005", b"00000000000000005", b"0" * 40 + b"5", b"0x5", b"0X5", b"x5", b"5h", b"+5", b"-5", b" 5",
    b"5 ", b"\t5", b"5\t", b"5  ", b"\x0b5", b"5\x0b", b"5\x0c", b"5\x00", b"\x005", b"5\r", b"5_", b"0_5", b"5.0", b"5,", b"5 5", b"5 x", b"5=x",
    b"", b"g", b"\xd9\xa5", b"5\xa0", b"10000000000000005", b"ffffffffffffffff", b"8000000000000005", b"7fffffffffffffff",
    b"100000005", b"5;", b"5; ", b"5;a", b"5 ;a", b"5; a", b"5;a=b", b"5;a = b", b'5;a="b"', b'5;a="b', b'5;a="\r', b'5;a="b;c"', b'5;a="\\""',
    b"5;a=b;c=d", b"5;;", b"5;=b", b"5;a=", b"5;a b", b"5;\x00", b"5;a\x00b", b"5;a\x0bb", b"5;a\xff", b'5;a="\xff"', b"5;a\r", b"5;\ra", b"5;a\t=\tb",
    b"5;" + b"a" * 1000, b"5;" + b"a" * 8000, b"5;" + b"a" * 17000, b"5\x85", b"5#", b"5\"", b"5'", b"5/", b"5:", b"a", b"A",
]

LAST_CHUNKS = [
    b"0\r\n\r\n", b"00\r\n\r\n", b"0000000000000000000\r\n\r\n", b"0;x\r\n\r\n", b"0 \r\n\r\n", b" 0\r\n\r\n", b"0\n\n", b"0\r\n\n", b"0\n\r\n",
    b"0\r\r", b"0\r\n\r", b"0\r\n", b"0", b"", b"0\r\n \r\n", b"0\r\n\t\r\n", b"0\r\n\r\r\n", b"-0\r\n\r\n", b"+0\r\n\r\n", b"0x0\r\n\r\n",
    b"0\r\nX-Sum: 1\r\n\r\n", b"0\r\nX-Sum: 1\n\n", b"0\r\nX-Sum: 1\n\r\n", b"0\r\nX Sum: 1\r\n\r\n", b"0\r\nX-Sum : 1\r\n\r\n", b"0\r\n: 1\r\n\r\n",
    b"0\r\nX-Sum\r\n\r\n", b"0\r\nX-Sum: 1\r\n fold\r\n\r\n", b"0\r\nX: \x00\r\n\r\n", b"0\r\nX: \r1\r\n\r\n", b"0\r\nContent-Length: 50\r\n\r\n",
    b"0\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\nHost: other.example\r\n\r\n", b"0\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n",
    b"0\r\nAuthorization: x\r\n\r\n", b"0\r\nTrailer: x\r\n\r\n", b"0\r\n" + b"X: 1\r\n" * 50 + b"\r\n", b"0\r\n" + b"X: 1\r\n" * 200 + b"\r\n",
    b"0\r\nX: " + b"a" * 70000 + b"\r\n\r\n", b"0\r\nGET /smuggled HTTP/1.1\r\nHost: desync.example\r\n\r\n",
]

DATA_ENDS = [b"\r\n", b"\n", b"\r", b"", b"\r\r\n", b"\n\r", b"\n\n", b"\r\n\r\n", b"X\r\n", b"XX", b" \r\n", b"\r X", b"\x00\x00", b"\r\x00"]

LINE_ENDS = [b"\n", b"\r", b"\n\r", b"\r\r\n", b"\r\n\n", b"\r \n", b" \r\n", b"\t\r\n", b"\x0b\r\n", b"\x0c", b"\x85", b"\xe2\x80\xa8", b"\x00\r\n", b"\r\x00\n"]

NAMES = [b"Content-Length", b"Transfer-Encoding", b"Host"]

PAIRS = [
    b"Content-Length: 5", b"Content-Length: 6", b"Content-Length: 0", b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity",
    b"Transfer-Encoding:chunked", b"Host: desync.example", b"Host: other.example", b"Host:", b"Connection: close", b"Connection: keep-alive",
    b"Expect: 100-continue", b"Upgrade: websocket", b"X-Forwarded-For: 6.6.6.6", b"Content-Type: a", b"Authorization: a", b"Cookie: a=b",
    b"Date: x", b"TE: trailers", b"Trailer: X-Sum", b"Via: 1.0 x", b"Max-Forwards: 0", b"Range: bytes=0-1",
]


def hosts(_):
    for value in HOSTS:
        yield "value", request(host=b"Host: " + value)
        yield "no-blank", request(host=b"Host:" + value)
        yield "with-absolute", request(target=b"http://desync.example/x", host=b"Host: " + value)
    for version in (b"HTTP/1.1", b"HTTP/1.0"):
        yield "none", request(host=None, version=version)
        for value in (b"desync.example", b"other.example", b""):
            for also in (b"Host: desync.example", b"host: desync.example", b"Host:desync.example", b"Host : desync.example", b" Host: desync.example"):
                yield "two", request(host=also, fields=[b"Host: " + value], version=version)
                yield "two-apart", request(host=b"Host: " + value, fields=[b"X: y", also], version=version)


def lengths(_):
    for value in LENGTHS:
        for method in (b"POST", b"GET"):
            yield "value", request(method, fields=[b"Content-Length: " + value], body=b"hello" + SMUGGLED)
        yield "first", request(b"POST", fields=[b"Content-Length: " + value, b"Content-Length: 5"], body=b"hello" + SMUGGLED)
        yield "second", request(b"POST", fields=[b"Content-Length: 5", b"Content-Length: " + value], body=b"hello" + SMUGGLED)
        yield "alone", request(b"POST", fields=[b"Content-Length: " + value])
        yield "1.0", request(b"POST", version=b"HTTP/1.0", fields=[b"Connection: keep-alive", b"Content-Length: " + value], body=b"hello" + SMUGGLED)


def encodings(_):
    for value in ENCODINGS:
        field = b"Transfer-Encoding: " + value
        length = b"Content-Length: %d" % len(CHUNKED)
        yield "value", request(b"POST", fields=[field], body=CHUNKED)
        yield "rest", request(b"POST", fields=[field], body=CHUNKED + SMUGGLED)
        yield "before-length", request(b"POST", fields=[field, length], body=CHUNKED)
        yield "after-length", request(b"POST", fields=[length, field], body=CHUNKED)
        yield "short-length", request(b"POST", fields=[b"Content-Length: 4", field], body=b"0\r\n\r\n" + SMUGGLED)
        yield "long-length", request(b"POST", fields=[b"Content-Length: %d" % (5 + len(SMUGGLED)), field], body=b"0\r\n\r\n" + SMUGGLED)
        yield "1.0", request(b"POST", version=b"HTTP/1.0", fields=[b"Connection: keep-alive", field], body=CHUNKED + SMUGGLED)
        yield "get", request(fields=[field], body=CHUNKED + SMUGGLED)
        yield "twice", request(b"POST", fields=[b"Transfer-Encoding: chunked", field], body=CHUNKED + SMUGGLED)
        yield "twice-reversed", request(b"POST", fields=[field, b"Transfer-Encoding: chunked"], body=CHUNKED + SMUGGLED)


def chunks(_):
    for size in SIZES:
        body = size + b"\r\nhello\r\n0\r\n\r\n"
        yield "size", request(b"POST", fields=[b"Transfer-Encoding: chunked"], body=body)
        yield "size-rest", request(b"POST", fields=[b"Transfer-Encoding: chunked"], body=body + SMUGGLED)
        yield "size-later", request(b"POST", fields=[b"Transfer-Encoding: chunked"], body=b"1\r\nx\r\n" + body)
        yield "size-feed", request(b"POST", fields=[b"Transfer-Encoding: chunked"], body=size + b"\nhello\r\n0\r\n\r\n")
    for end in DATA_ENDS:
        for last in (b"0\r\n\r\n", b"1\r\nx\r\n0\r\n\r\n"):
            body = b"5\r\nhello" + end + last + SMUGGLED
            yield "data-end", request(b"POST", fields=[b"Transfer-Encoding: chunked"], body=body)
    for end in LINE_ENDS:
        for extension in (b"", b";a", b";a=b", b" "):
            body = b"5" + extension + end + b"hello\r\n0\r\n\r\n" + SMUGGLED
            yield "line-end", request(b"POST", fields=[b"Transfer-Encoding: chunked"], body=body)
        # The two readings of an extension's line end hide a request in a chunk.
        hidden = b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n0\r\n\r\n"
        yield "extension-hides", request(b"POST", fields=[b"Transfer-Encoding: chunked"], body=b"2;" + end + b"xx\r\n" + hidden)
    for last in LAST_CHUNKS:
        yield "last", request(b"POST", fields=[b"Transfer-Encoding: chunked"], body=b"5\r\nhello\r\n" + last)
        yield "last-rest", request(b"POST", fields=[b"Transfer-Encoding: chunked"], body=b"5\r\nhello\r\n" + last + SMUGGLED)
        yield "only-last", request(b"POST", fields=[b"Transfer-Encoding: chunked"], body=last + SMUGGLED)


def line_ends(_):
    lines = [b"POST /x HTTP/1.1", b"Host: " + HOST, b"X-One: 1", b"Content-Length: 5", b"X-Two: 2", b""]
    for end in LINE_ENDS:
        for at in range(len(lines)):
            ends = [b"\r\n"] * len(lines)
            ends[at] = end
            head = b"".join(line + stop for line, stop in zip(lines, ends, strict=True))
            yield "one", head + b"hello"
            yield "one-rest", head + b"hello" + SMUGGLED
        yield "all", b"".join(line + end for line in lines) + b"hello"
    for end in (b"\n", b"\r", b"\r\r\n", b"\n\r"):
        for field in (b"Transfer-Encoding: chunked", b"Content-Length: 0", b"Host: other.example", b"X: y"):
            yield "hidden-field", request(b"POST", fields=[b"X: y" + end + field, b"Content-Length: 5"], body=b"hello" + SMUGGLED)
            yield "hidden-end", request(b"POST", fields=[b"X: y" + end + end + SMUGGLED.strip(), b"Content-Length: 5"], body=b"hello")


def folds(_):
    for lead in (b" ", b"\t", b"  ", b" \t", b"\x0b", b"\xa0", b"\x00"):
        for rest in (b"chunked", b"x", b"Transfer-Encoding: chunked", b"Content-Length: 5", b"Host: other.example", b""):
            for field in (b"X: y", b"Transfer-Encoding:", b"Content-Length: 5", b"X:"):
                yield "field", request(b"POST", fields=[field + b"\r\n" + lead + rest], body=CHUNKED + SMUGGLED)
        yield "first-line", request(host=lead + b"Host: desync.example")
        yield "host", request(host=b"Host:\r\n" + lead + b"desync.example")


def blanks(_):
    for blank in (b" ", b"\t", b"  ", b"\x0b", b"\x0c", b"\x00", b"\xa0", b"\r"):
        for name, value in ((b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"5"), (b"Host", b"other.example"), (b"X", b"y"), (b"Connection", b"close")):
            body = CHUNKED if name.startswith(b"T") else b"hello"
            for field in (name + blank + b": " + value, blank + name + b": " + value, name + b":" + blank + value, name + b": " + value + blank, name + blank + value):
                yield "field", request(b"POST", fields=[field], body=body + SMUGGLED)
                yield "field-with-length", request(b"POST", fields=[b"Content-Length: 5", field], body=b"hello" + SMUGGLED)
        for line in (
            blank + b"GET /x HTTP/1.1", b"GET" + blank + b"/x HTTP/1.1", b"GET /x" + blank + b"HTTP/1.1", b"GET /x HTTP/1.1" + blank,
            b"GET " + blank + b"/x HTTP/1.1", b"GET /x " + blank + b"HTTP/1.1", b"GET" + blank + b"/x" + blank + b"HTTP/1.1",
        ):
            yield "line", line + b"\r\nHost: desync.example\r\n\r\n"
    for lead in (b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\n\n", b"\r\n\r\n\r\n\r\n", b" \r\n", b"\x00", b"\xef\xbb\xbf"):
        yield "lead", lead + request()
        yield "between", request() + lead + request(target=b"/second")


def control_bytes(_):
    for byte in ODD_BYTES + PUNCTUATION:
        places = {
            "method": request(method=b"GE" + byte + b"T"),
            "target": request(target=b"/a" + byte + b"b"),
            "query": request(target=b"/?a" + byte + b"b"),
            "version": request(version=b"HTTP/1." + byte + b"1"),
            "host": request(host=b"Host: desync" + byte + b".example"),
            "name": request(fields=[b"X" + byte + b"Y: z"]),
            "name-start": request(fields=[byte + b"X: z"]),
            "name-end": request(fields=[b"X" + byte + b": z"]),
            "value": request(fields=[b"X: y" + byte + b"z"]),
            "value-start": request(fields=[b"X:" + byte + b"z"]),
            "value-end": request(fields=[b"X: z" + byte]),
            "line": request(fields=[byte]),
        }
        for place, sent in places.items():
            yield place, sent
        for name, value, body in ((b"Transfer-Encoding", b"chunked", CHUNKED), (b"Content-Length", b"5", b"hello")):
            half = len(name) // 2
            for field in (
                name[:half] + byte + name[half:] + b": " + value, byte + name + b": " + value, name + byte + b": " + value,
                name + b":" + byte + value, name + b": " + value + byte, name + b": " + value[:1] + byte + value[1:],
                b"X: y" + byte + name + b": " + value,
            ):
                yield "framing", request(b"POST", fields=[field], body=body + SMUGGLED)


def names(_):
    disguises = [
        b"Content_Length", b"Content-length", b"CONTENT-LENGTH", b"Content--Length", b"Content-Length-", b"-Content-Length", b"ContentLength",
        b"Content.Length", b"Content\xe2\x80\x90Length", b"Content-Lengt\xc4\xa7", b"Transfer_Encoding", b"transfer-encoding", b"Transfer--Encoding",
        b"TransferEncoding", b"Transfer.Encoding", b"Transfer-Encodin\xc4\xa1", b"Transfer-Encoding\xc2\xa0", b"X-Transfer-Encoding", b"Transfer-Encoding2",
        b"Host_", b"H\xc3\xb6st", b"X_Forwarded_For", b"X-Forwarded_For", b"HTTP_HOST", b"X-HTTP-Method-Override", b"X-Original-URL", b"X-Rewrite-URL",
        b"Proxy", b"X-Forwarded-Host", b"Forwarded", b"X-Real-IP", b"HTTP2-Settings", b"Keep-Alive", b"Proxy-Connection", b"!#$%&'*+-.^_`|~09azAZ", b"",
    ]
    for name in disguises:
        for value in (b"5", b"chunked", b"other.example"):
            yield "disguise", request(b"POST", fields=[name + b": " + value], body=CHUNKED + SMUGGLED)
            yield "disguise-with-length", request(b"POST", fields=[name + b": " + value, b"Content-Length: 5"], body=b"hello" + SMUGGLED)
            yield "disguise-with-chunks", request(b"POST", fields=[b"Transfer-Encoding: chunked", name + b": " + value], body=CHUNKED + SMUGGLED)
    for nominated in (b"host", b"content-length", b"transfer-encoding", b"authorization", b"x-forwarded-for", b"cookie", b"expect", b"upgrade", b"connection",
                      b"close, content-length", b"keep-alive, transfer-encoding", b"\x00", b"x y", b"x;y", b"", b",", b"close close", b'"close"'):
        for fields, body in (([b"Content-Length: 5"], b"hello"), ([b"Transfer-Encoding: chunked"], CHUNKED)):
            yield "nominated", request(b"POST", fields=[b"Connection: " + nominated, *fields], body=body + SMUGGLED)
    for count in (50, 99, 100, 101, 110, 300):
        yield "many", request(fields=[b"X-%d: y" % n for n in range(count)])
    for size in (1000, 4000, 7000, 9000, 17000, 31000, 33000, 70000):
        yield "large", request(fields=[b"X: " + b"y" * size])


def expectations(_):
    for value in (b"100-continue", b"100-Continue", b"100-continue, x", b"100-continue;q=1", b" 100-continue", b"100 continue", b"200-ok", b"", b"x", b"y 100-continue"):
        for fields, body in (([], b""), ([b"Content-Length: 5"], b"hello"), ([b"Content-Length: 0"], b""), ([b"Transfer-Encoding: chunked"], CHUNKED)):
            for version in (b"HTTP/1.1", b"HTTP/1.0"):
                for method in (b"POST", b"GET", b"HEAD"):
                    yield "value", request(method, version=version, fields=[b"Expect: " + value, *fields], body=body + SMUGGLED)
    yield "twice", request(b"POST", fields=[b"Expect: 100-continue", b"Expect: 100-continue", b"Content-Length: 5"], body=b"hello")
    yield "no-body", request(b"POST", fields=[b"Expect: 100-continue", b"Content-Length: 5"])


def upgrades(_):
    for protocol in (b"websocket", b"WebSocket", b"h2c", b"HTTP/2.0", b"TLS/1.0", b"x", b"", b"websocket, h2c", b"h2c, websocket", b"connect-udp"):
        for connection in (b"Upgrade", b"upgrade, HTTP2-Settings", b"close", b"keep-alive, Upgrade", b"x"):
            for method in (b"GET", b"POST", b"HEAD"):
                fields = [b"Connection: " + connection, b"Upgrade: " + protocol, b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
                          b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", b"Sec-WebSocket-Version: 13"]
                yield "rest", request(method, fields=fields, body=SMUGGLED)
                yield "body", request(method, fields=[*fields, b"Content-Length: 5"], body=b"hello" + SMUGGLED)
    yield "preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    for target in (b"desync.example:443", b"desync.example", b"/x", b"http://desync.example/", b"*", b"127.0.0.1:22"):
        yield "connect", request(b"CONNECT", target=target, body=SMUGGLED)
        yield "connect-length", request(b"CONNECT", target=target, fields=[b"Content-Length: 5"], body=b"hello" + SMUGGLED)


def lines(_):
    for target in TARGETS:
        for method in (b"GET", b"OPTIONS", b"POST"):
            yield "target", request(method, target=target)
        yield "target-1.0", request(target=target, version=b"HTTP/1.0", host=None)
    for version in VERSIONS:
        yield "version", request(version=version)
        yield "version-post", request(b"POST", version=version, fields=[b"Content-Length: 5"], body=b"hello" + SMUGGLED)
        yield "version-chunked", request(b"POST", version=version, fields=[b"Transfer-Encoding: chunked"], body=CHUNKED + SMUGGLED)
    for method in METHODS:
        yield "method", request(method)
        yield "method-body", request(method, fields=[b"Content-Length: 5"], body=b"hello" + SMUGGLED)
        yield "method-chunked", request(method, fields=[b"Transfer-Encoding: chunked"], body=CHUNKED + SMUGGLED)
        yield "method-rest", request(method, body=SMUGGLED)
    for line in (b"", b" ", b"GET", b"GET ", b"GET  ", b"GET /x", b"GET /x ", b"GET HTTP/1.1", b"/x HTTP/1.1", b"GET/x HTTP/1.1", b"GET /xHTTP/1.1", b"HTTP/1.1 200 OK", b"X: y"):
        yield "line", line + b"\r\nHost: desync.example\r\n\r\n"


def pairs(_):
    for one in PAIRS:
        for other in PAIRS:
            yield "both", request(b"POST", fields=[one, other], body=CHUNKED + SMUGGLED)


def pipelines(_):
    bodies = {
        b"": b"", b"Content-Length: 0": b"", b"Content-Length: 5": b"hello", b"Transfer-Encoding: chunked": CHUNKED,
        b"Content-Length: %d" % len(SMUGGLED): SMUGGLED, b"Content-Length: 4": b"hello", b"Content-Length: 6": b"hello",
    }
    rests = [b"", SMUGGLED, b"x", b"\r\n", b"\r\n" + SMUGGLED, b"\n" + SMUGGLED, b"0\r\n\r\n" + SMUGGLED, b"\x00" + SMUGGLED, SMUGGLED * 3, b"G", b"GET ", b"GET / HTTP/1.1\r\nX: "]
    for field, body in bodies.items():
        for rest in rests:
            for method in (b"GET", b"POST", b"HEAD", b"DELETE", b"OPTIONS"):
                yield "rest", request(method, fields=[field] if field else [], body=body + rest)
            yield "close", request(b"POST", fields=[b"Connection: close", *([field] if field else [])], body=body + rest)


FAMILIES = {
    "host": hosts, "length": lengths, "encoding": encodings, "chunk": chunks, "line-end": line_ends, "fold": folds, "blank": blanks,
    "byte": control_bytes, "name": names, "expect": expectations, "upgrade": upgrades, "line": lines, "pair": pairs, "pipeline": pipelines,
}

TOKENS = [
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\r\n ", b" ", b"\t", b":", b": ", b";", b",", b"\x00", b"\x0b", b"\x7f", b"\xff", b"0", b"5", b"0\r\n\r\n", b"chunked",
    b"identity", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding : chunked\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n",
    b"\r\nContent-Length: 3", b"Host: other.example\r\n", b"HTTP/1.1", b"HTTP/1.0", b"GET /smuggled HTTP/1.1\r\n", b"Connection: close\r\n",
    b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\n", b"%00", b"..", b"//", b"#", b"?", b"*", b"http://", b"@", b"[", b"]",
]


def mutated(pool, count, rng):
    """Payloads of the grammar with a few things done to them."""
    for _ in range(count):
        origin = rng.choice(pool)
        sent = bytearray(origin.sent[:4000])
        for _ in range(rng.choice((1, 1, 2, 3))):
            rng.choice(MUTATIONS)(sent, pool, rng)
        yield origin.family, bytes(sent)


def _insert_token(sent, _, rng):
    at = rng.randint(0, len(sent))
    sent[at:at] = rng.choice(TOKENS)


def _insert_byte(sent, _, rng):
    sent.insert(rng.randint(0, len(sent)), rng.randrange(256))


def _replace_byte(sent, _, rng):
    if sent:
        sent[rng.randrange(len(sent))] = rng.choice((rng.randrange(256), rng.choice(b"\r\n :;,\t\x000")))


def _delete(sent, _, rng):
    at = rng.randint(0, len(sent))
    del sent[at : at + rng.choice((1, 1, 2, 5))]


def _repeat_line(sent, _, rng):
    every = bytes(sent).split(b"\r\n")
    at = rng.randrange(len(every))
    every.insert(rng.randint(0, len(every)), every[at])
    sent[:] = b"\r\n".join(every)


def _swap_lines(sent, _, rng):
    every = bytes(sent).split(b"\r\n")
    one, other = rng.randrange(len(every)), rng.randrange(len(every))
    every[one], every[other] = every[other], every[one]
    sent[:] = b"\r\n".join(every)


def _take_line(sent, pool, rng):
    lines_of_other = rng.choice(pool).sent[:2000].split(b"\r\n")
    every = bytes(sent).split(b"\r\n")
    every.insert(rng.randint(0, len(every)), rng.choice(lines_of_other))
    sent[:] = b"\r\n".join(every)


def _cut(sent, _, rng):
    del sent[rng.randint(0, len(sent)) :]


def _append(sent, pool, rng):
    sent += rng.choice(pool).sent[:2000]


def _change_case(sent, _, rng):
    if sent:
        at = rng.randrange(len(sent))
        sent[at : at + 8] = bytes(sent[at : at + 8]).swapcase()


MUTATIONS = [_insert_token, _insert_token, _insert_byte, _replace_byte, _replace_byte, _delete, _repeat_line, _swap_lines, _take_line, _cut, _append, _change_case]


def corpus(seed: int, mutations: int) -> list[Payload]:
    """The whole grammar, then `mutations` random ones; no two send the same bytes."""
    rng = random.Random(seed)
    payloads, known = [], set()

    def add(family, made):
        for note, sent in made:
            if sent not in known:
                known.add(sent)
                payloads.append(Payload(f"{family}/{note}-{len(payloads)}", sent))

    for family, make in FAMILIES.items():
        add(family, make(rng))
    pool = list(payloads)
    add("random", mutated(pool, mutations, rng))
    return payloads


def main():
    """Writes the corpus for other judges: a line each, name and bytes in hexadecimal."""
    import sys

    seed, mutations, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    with open(path, "w") as file:
        for payload in corpus(seed, mutations):
            file.write(f"{payload.name} {payload.sent.hex()}\n")


if __name__ == "__main__":
    main()
