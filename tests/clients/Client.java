// Java's HttpClient through the proxy: java Client.java BASE_URL. Needs a JDK 11 or later and nothing else; prints one
// `ok` line a check, and ends with an exception at the first that fails.

import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpClient.Version;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.List;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

public class Client {
    static String base;

    public static void main(String[] arguments) throws Exception {
        base = arguments[0];
        // HTTP_2 is the default of this client: over plain text it offers an upgrade to h2c with every first request,
        // which a proxy must not take for a WebSocket, nor pass on.
        for (Version version : List.of(Version.HTTP_1_1, Version.HTTP_2)) {
            var client = HttpClient.newBuilder().version(version).connectTimeout(Duration.ofSeconds(5)).build();
            shares(client, version);
            manyAtOnce(client, version);
            uploads(client, version);
            downloads(client, version);
        }
    }

    static void shares(HttpClient client, Version version) throws Exception {
        var names = new TreeMap<String, Integer>();
        for (int i = 0; i < 99; i++) {
            var answer = client.send(request("/").build(), BodyHandlers.ofString());
            require(answer.statusCode() == 200, answer);
            names.merge(answer.headers().firstValue("x-endpoint").orElse("none"), 1, Integer::sum);
        }
        require(names.toString().equals("{a=33, b=33, c=33}"), names);
        ok(version + ": 99 requests, 33 an endpoint");
    }

    static void manyAtOnce(HttpClient client, Version version) {
        List<CompletableFuture<HttpResponse<String>>> answers = IntStream.range(0, 200)
            .mapToObj(n -> client.sendAsync(request("/?n=" + n).build(), BodyHandlers.ofString()))
            .collect(Collectors.toList());
        for (var answer : answers) require(answer.join().body().startsWith("Hello from"), answer.join());
        ok(version + ": 200 requests at once");
    }

    static void uploads(HttpClient client, Version version) throws Exception {
        byte[] body = new byte[3_000_000];
        var whole = request("/").POST(BodyPublishers.ofByteArray(body)).build();
        requireReceived(client.send(whole, BodyHandlers.ofString()), body.length);
        var chunked = request("/").POST(BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(body))).build();
        requireReceived(client.send(chunked, BodyHandlers.ofString()), body.length);
        ok(version + ": uploads, with a length and chunked");
        var patient = request("/").expectContinue(true).POST(BodyPublishers.ofByteArray(body)).build();
        requireReceived(client.send(patient, BodyHandlers.ofString()), body.length);
        ok(version + ": Expect: 100-continue");
    }

    static void downloads(HttpClient client, Version version) throws Exception {
        var big = client.send(request("/big?size=20MiB").build(), BodyHandlers.ofByteArray());
        require(big.body().length == 20 << 20, big.body().length);
        var head = client.send(request("/big").method("HEAD", BodyPublishers.noBody()).build(), BodyHandlers.ofString());
        require(head.headers().firstValueAsLong("content-length").orElse(-1) == 10 << 20, head.headers().map());
        require(head.body().isEmpty(), head.body());
        var events = client.send(request("/events?count=3&ms=20").build(), BodyHandlers.ofLines());
        require(events.body().filter(line -> line.startsWith("data:")).count() == 3, "three events");
        var error = client.send(request("/fail?status=503").build(), BodyHandlers.ofString());
        require(error.statusCode() == 503, error);
        ok(version + ": a large download, HEAD, server-sent events, an endpoint's error");
    }

    static HttpRequest.Builder request(String path) {
        return HttpRequest.newBuilder(URI.create(base + path)).timeout(Duration.ofSeconds(20))
            .header("Accept", path.equals("/") ? "application/json" : "*/*");
    }

    static void requireReceived(HttpResponse<String> answer, int length) {
        require(answer.body().contains("\"body_bytes\":" + length), answer.body());
    }

    static void require(boolean condition, Object seen) {
        if (!condition) throw new AssertionError(seen);
    }

    static void ok(String what) {
        System.out.println("ok      " + what);
    }
}
