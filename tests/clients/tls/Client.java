// Java's HttpClient over TLS, as two rows of the matrix: java -Djdk.net.hosts.file=HOSTS Client.java PORT CA. Needs a JDK 11
// or later and nothing else. A line a check, as in cells.py.

import java.io.ByteArrayInputStream;
import java.io.FileInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpClient.Redirect;
import java.net.http.HttpClient.Version;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.net.http.HttpTimeoutException;
import java.net.http.WebSocket;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLHandshakeException;
import javax.net.ssl.TrustManagerFactory;

public class Client {
    static final byte[] BIG = new byte[20 << 20];
    static final int LATE = 50;
    static int port;

    final Version version;
    final String row;
    final HttpClient client;

    public static void main(String[] arguments) throws Exception {
        port = Integer.parseInt(arguments[0]);
        new Random().nextBytes(BIG);
        var context = trusting(arguments[1]);
        new Client(Version.HTTP_1_1, "java-1.1", context).run();
        new Client(Version.HTTP_2, "java-2", context).run();
        System.exit(0);
    }

    static SSLContext trusting(String ca) throws Exception {
        var store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null);
        try (var file = new FileInputStream(ca)) {
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        var factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init(store);
        var context = SSLContext.getInstance("TLS");
        context.init(null, factory.getTrustManagers(), null);
        return context;
    }

    Client(Version version, String row, SSLContext context) {
        this.version = version;
        this.row = row;
        client = HttpClient.newBuilder().version(version).sslContext(context).followRedirects(Redirect.NORMAL)
            .connectTimeout(Duration.ofSeconds(5)).build();
    }

    void run() {
        cell("GET", this::get);
        cell("POST", this::post);
        cell("upload", () -> upload(BodyPublishers.ofByteArray(BIG), false));
        cell("streamed upload", () -> upload(BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(BIG)), false));
        cell("Expect", this::expect);
        cell("download", this::download);
        cell("redirect", this::redirect);
        cell("HEAD", this::head);
        cell("keep-alive", this::keepAlive);
        cell("names", this::names);
        cell("parallel", this::parallel);
        cell("events", this::events);
        if (version == Version.HTTP_1_1) cell("WebSocket", this::webSocket);
    }

    void cell(String column, Callable<String> check) {
        try {
            System.out.println("ok      " + row + " | " + column + " | " + check.call());
        } catch (Missing missing) {
            System.out.println("no      " + row + " | " + column + " | " + missing.getMessage());
        } catch (Throwable error) {
            System.out.println("FAILED  " + row + " | " + column + " | " + error);
            for (var at : error.getStackTrace()) System.out.println("        " + at);
        }
    }

    String get() throws Exception {
        var answer = report(request("/report", "one.test", ""));
        require(answer.contains("\"host\": \"one.test:" + port + "\""), answer);
        var missing = client.send(request("/fail?status=418", "one.test", "").build(), BodyHandlers.ofString());
        require(missing.statusCode() == 418 && missing.body().equals("this is a 418"), missing);
        return "200, 418";
    }

    String post() throws Exception {
        var body = Arrays.copyOf(BIG, 1000);
        var answer = send(request("/echo", "one.test", "").POST(BodyPublishers.ofByteArray(body)));
        require(Arrays.equals(answer.body(), body), answer);
        return "1000 bytes there and back";
    }

    /** What is known not to be there. */
    static class Missing extends Exception {
        Missing(String why) { super(why); }
    }

    String expect() throws Exception {
        try {
            return upload(BodyPublishers.ofByteArray(BIG), true) + " after 100 Continue";
        } catch (HttpTimeoutException late) {
            if (version == Version.HTTP_2) throw new Missing("none came, and it waits for ever");
            throw late;
        }
    }

    String upload(BodyPublisher body, boolean patient) throws Exception {
        var answer = report(request("/report", "one.test", "").expectContinue(patient).POST(body)
            .timeout(Duration.ofSeconds(patient ? 5 : 30)));
        require(answer.contains("\"body_bytes\": " + BIG.length + ","), answer);
        require(answer.contains(sha256(BIG)), answer);
        return "20 MiB";
    }

    String download() throws Exception {
        var answer = send(request("/bytes?size=" + BIG.length, "one.test", ""));
        require(answer.body().length == BIG.length, answer.body().length);
        require(sha256(answer.body()).equals(answer.headers().firstValue("X-Sha256").orElse("")), answer);
        return "20 MiB";
    }

    String redirect() throws Exception {
        var answer = send(request("/redirect?to=there", "one.test", ""));
        require(answer.uri().toString().startsWith("https://one.test:" + port + "/report?to=there"), answer.uri());
        return "307, followed to the proxy by https";
    }

    String head() throws Exception {
        var answer = send(request("/bytes?size=1234567", "one.test", "").method("HEAD", BodyPublishers.noBody()));
        require(answer.headers().firstValueAsLong("Content-Length").orElse(-1) == 1234567, answer.headers().map());
        require(answer.body().length == 0, answer.body().length);
        require(send(request("/bytes?size=10", "one.test", "")).body().length == 10, "the next request");
        return "a length, no body, and the next request is served";
    }

    String keepAlive() throws Exception {
        for (int number = 0; number < 20; number++) {
            var answer = report(request("/report?number=" + number, "one.test", "keep-alive"));
            require(answer.contains("number=" + number + "&"), answer);
        }
        return "20 requests";
    }

    String names() throws Exception {
        for (var name : List.of("one.test", "two.test")) {
            var answer = report(request("/report", name, ""));
            require(answer.contains("\"host\": \"" + name + ":" + port + "\""), answer);
        }
        try {
            send(request("/report", "three.test", ""));
        } catch (SSLHandshakeException refused) {
            require(refused.getMessage().contains("three.test"), refused);
            return "two names, each with its certificate; a third one is refused";
        }
        throw new AssertionError("a certificate of another name was accepted");
    }

    String parallel() throws Exception {
        var bodies = new ArrayList<String>();
        var answers = new ArrayList<CompletableFuture<HttpResponse<String>>>();
        // It fails where a server allows fewer streams than it wants to have, instead of waiting for one.
        var streams = new Semaphore(90);
        for (int number = 0; number < 200; number++) {
            streams.acquire();
            var body = (row + " " + number + "\n").repeat(1000);
            var asked = request("/echo?number=" + number, "one.test", "parallel").POST(BodyPublishers.ofString(body));
            bodies.add(body);
            answers.add(client.sendAsync(asked.build(), BodyHandlers.ofString()));
            answers.get(number).whenComplete((answer, error) -> streams.release());
        }
        for (int number = 0; number < 200; number++) {
            var answer = answers.get(number).get(30, TimeUnit.SECONDS);
            require(answer.statusCode() == 200 && answer.version() == version, answer);
            require(answer.body().equals(bodies.get(number)), "mixed up: " + number);
        }
        return "200, 90 at once, none mixed up";
    }

    String events() throws Exception {
        double worst = 0;
        for (int attempt = 0; attempt < 3; attempt++) {
            var answer = client.send(request("/events?count=20&ms=50", "one.test", "").build(), BodyHandlers.ofLines());
            var delays = new ArrayList<Double>();
            answer.body().filter(line -> line.startsWith("data: "))
                .forEach(line -> delays.add(System.currentTimeMillis() - 1000 * Double.parseDouble(line.substring(6))));
            require(delays.size() == 20, delays);
            worst = delays.stream().max(Double::compare).get();
            if (worst < LATE) return String.format("20, the latest after %.0f ms", worst);
        }
        throw new AssertionError("an event came " + worst + " ms after it was sent");
    }

    String webSocket() throws Exception {
        var received = new CompletableFuture<String>();
        var closed = new CompletableFuture<Integer>();
        var listener = new WebSocket.Listener() {
            final StringBuilder text = new StringBuilder();

            public CompletionStage<?> onText(WebSocket socket, CharSequence piece, boolean last) {
                text.append(piece);
                if (last) received.complete(text.toString());
                socket.request(1);
                return null;
            }

            public CompletionStage<?> onClose(WebSocket socket, int code, String reason) {
                closed.complete(code);
                return null;
            }
        };
        var uri = URI.create(at("/socket", "one.test", "").replace("https:", "wss:"));
        var socket = client.newWebSocketBuilder().buildAsync(uri, listener).get(10, TimeUnit.SECONDS);
        var text = "text of a mebibyte".repeat(1 << 16);
        socket.sendText(text, true).get(10, TimeUnit.SECONDS);
        require(received.get(10, TimeUnit.SECONDS).equals(text), "another text");
        socket.sendText("bye", true).get(10, TimeUnit.SECONDS);
        require(closed.get(10, TimeUnit.SECONDS) == 4001, closed);
        return "a MiB of text, the endpoint's close code";
    }

    /** The log tells by the query whose request it was. */
    String at(String target, String name, String cell) {
        var more = (target.contains("?") ? "&" : "?") + "row=" + row + "&cell=" + cell;
        return "https://" + name + ":" + port + target + more;
    }

    HttpRequest.Builder request(String target, String name, String cell) {
        return HttpRequest.newBuilder(URI.create(at(target, name, cell))).timeout(Duration.ofSeconds(30));
    }

    HttpResponse<byte[]> send(HttpRequest.Builder request) throws Exception {
        var answer = client.send(request.build(), BodyHandlers.ofByteArray());
        require(answer.statusCode() == 200 && answer.version() == version, answer);
        return answer;
    }

    String report(HttpRequest.Builder request) throws Exception {
        var answer = new String(send(request).body());
        require(answer.contains("\"version\": \"HTTP/1.1\", \"scheme\": \"https\""), answer);
        return answer;
    }

    static String sha256(byte[] bytes) throws Exception {
        var digest = MessageDigest.getInstance("SHA-256").digest(bytes);
        var text = new StringBuilder();
        for (byte one : digest) text.append(String.format("%02x", one));
        return text.toString();
    }

    static void require(boolean condition, Object seen) {
        if (!condition) throw new AssertionError(seen);
    }
}
