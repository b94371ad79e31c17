use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use nix::sys::stat::Mode;
use parking_lot::Mutex;
use tempfile::TempDir;

use super::*;

const SOON: Duration = Duration::from_secs(10);

/// Reports land in a list.
fn noting(every: Duration) -> (Reporter, Arc<Mutex<Vec<Loss>>>) {
    let losses = Arc::new(Mutex::new(Vec::new()));
    let noted = losses.clone();
    (Reporter { every, tell: Box::new(move |loss| noted.lock().push(loss)) }, losses)
}

fn file_writer(path: &Path, queue: usize) -> LineWriter {
    LineWriter::start("test", Output::File(path.to_owned()), queue, 0).expect("start")
}

fn pipe(directory: &TempDir) -> std::path::PathBuf {
    let path = directory.path().join("pipe");
    nix::unistd::mkfifo(&path, Mode::S_IRWXU).expect("mkfifo");
    path
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).expect("read").lines().map(str::to_owned).collect()
}

/// Each line begins with the name of its thread and its number there.
fn name_and_number(line: &str) -> (usize, usize) {
    let mut words = line.split(' ').map(|word| word.parse().expect("a number"));
    (words.next().expect("a name"), words.next().expect("a number"))
}

#[test]
fn lines_of_many_threads_arrive_whole_and_in_their_order() {
    let directory = TempDir::new().expect("tempdir");
    let path = directory.path().join("log");
    // Two of them have no queue of their own.
    let writer = LineWriter::start("test", Output::File(path.clone()), 100_000, 6).expect("it can be opened");
    thread::scope(|scope| {
        for name in 0..8 {
            let producer = writer.producer();
            scope.spawn(move || {
                for number in 0..1000 {
                    let line = format!("{name} {number} {}\n", "0".repeat(1 + number % 300));
                    producer.write(line.as_bytes(), Instant::now());
                }
            });
        }
    });
    assert!(writer.flush(SOON));
    assert_eq!(writer.dropped(), 0);
    let mut next = [0; 8];
    for line in lines(&path) {
        let (name, number) = name_and_number(&line);
        assert_eq!(line.len(), format!("{name} {number} ").len() + 1 + number % 300);
        assert_eq!(number, next[name]);
        next[name] += 1;
    }
    assert_eq!(next, [1000; 8]);
}

/// All lines of one look, as the writer would write them.
fn taken(queues: &Queues) -> String {
    let (mut batch, mut piece, mut all) = (Batch::default(), Vec::new(), Vec::new());
    assert_eq!(queues.take(&mut batch, None), Task::Write);
    while batch.next_piece(&mut piece) {
        all.append(&mut piece);
    }
    queues.done();
    String::from_utf8(all).expect("text")
}

#[test]
fn what_workers_have_logged_is_merged_in_order_of_time() {
    let (queues, start) = (Queues::new(100_000, 4), Instant::now());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let own = queues.claim();
                for _ in 0..5_000 {
                    let now = Instant::now();
                    assert!(queues.add(own, format!("{}\n", nanos(now - start)).as_bytes(), now));
                }
            });
        }
    });
    let times: Vec<u64> = taken(&queues).lines().map(|line| line.parse().expect("a time")).collect();
    assert_eq!(times.len(), 20_000);
    assert!(times.is_sorted());
}

/// Where a thread's times go back and forth, its lines stay in order all the same.
#[test]
fn the_order_within_a_thread_is_kept_whatever_its_times_say() {
    let (queues, start) = (Queues::new(100, 2), Instant::now());
    let (one, two) = (queues.claim(), queues.claim());
    for (own, line, after) in
        [(one, "a\n", 5), (one, "b\n", 1), (one, "c\n", 7), (two, "d\n", 3), (two, "e\n", 6)]
    {
        assert!(queues.add(own, line.as_bytes(), start + Duration::from_secs(after)));
    }
    assert_eq!(taken(&queues), "d\na\nb\ne\nc\n");
    assert!(queues.add(two, b"f\n", start));
    assert_eq!(taken(&queues), "f\n");
}

#[test]
fn all_queues_together_hold_what_the_limit_says_and_each_its_part() {
    let queues = Queues::new(1_000, 4);
    // The writer writes nothing meanwhile.
    let fill = |own| (0..2_000).filter(|_| queues.add(own, b"line\n", Instant::now())).count();
    let fill_together = |all: std::ops::RangeInclusive<usize>| -> usize {
        let fill = &fill;
        thread::scope(|scope| {
            let threads: Vec<_> = all.map(|own| scope.spawn(move || fill(own))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        })
    };
    assert_eq!(fill(1), 125 + 500, "its own part, and the common half");
    assert_eq!(fill_together(2..=4), 3 * 125, "theirs are left to them");
    assert_eq!(queues.dropped(), 4 * 2_000 - 1_000);
    assert_eq!(taken(&queues).lines().count(), 1_000);
    // Now all of it is free again, for any thread.
    assert_eq!(fill_together(COMMON_QUEUE..=4), 1_000);
}

#[test]
fn a_worker_that_comes_has_the_queue_of_one_that_went() {
    let directory = TempDir::new().expect("tempdir");
    let path = directory.path().join("log");
    let writer = LineWriter::start("test", Output::File(path.clone()), 64, 1).expect("it can be opened");
    for name in 0..3 {
        let producer = writer.producer();
        assert_ne!(producer.queue, COMMON_QUEUE);
        assert_eq!(writer.producer().queue, COMMON_QUEUE, "there is one worker");
        producer.write(format!("{name}\n").as_bytes(), Instant::now());
    }
    assert!(writer.flush(SOON));
    assert_eq!(lines(&path), ["0", "1", "2"]);
}

#[test]
fn a_stalled_reader_costs_all_workers_lines_and_each_is_accounted_for() {
    const WORKERS: usize = 4;
    let directory = TempDir::new().expect("tempdir");
    let path = pipe(&directory);
    let writer =
        LineWriter::start("test", Output::File(path.clone()), 64, WORKERS).expect("it opens at once");
    let padding = "0".repeat(900);
    let sent: usize = thread::scope(|scope| {
        let work = |name: usize| {
            let (producer, writer, padding) = (writer.producer(), &writer, &padding);
            move || {
                // Until the pipe is full and the writer waits for its reader, and then much more.
                let mut sent = 0;
                while sent < 2_000 || writer.dropped() < 1_000 {
                    producer.write(format!("{name} {sent} {padding}\n").as_bytes(), Instant::now());
                    sent += 1;
                }
                sent
            }
        };
        let threads: Vec<_> = (0..WORKERS).map(|name| scope.spawn(work(name))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    let reader = BufReader::new(File::open(&path).expect("open"));
    let read = thread::spawn(move || {
        let lines = reader.lines().map(|line| line.expect("line")).take_while(|line| line != "end");
        lines.map(|line| name_and_number(&line)).collect::<Vec<_>>()
    });
    while !writer.flush(SOON) {}
    let dropped = writer.dropped();
    writer.write(b"end\n");
    let read = read.join().expect("reader");
    assert_eq!(read.len() + dropped as usize, sent);
    for name in 0..WORKERS {
        assert!(read.iter().filter(|line| line.0 == name).is_sorted(), "the order of {name} is kept");
    }
}

#[test]
fn a_stalled_reader_costs_lines_and_no_time_and_every_line_is_accounted_for() {
    let directory = TempDir::new().expect("tempdir");
    let path = pipe(&directory);
    // The open returns at once, although the pipe has no reader.
    let writer = file_writer(&path, 16);
    let line = [&[b'x'; 999][..], b"\n"].concat();
    let mut sent = 0;
    let mut send = |count| {
        (0..count).for_each(|_| {
            writer.write(&line);
            sent += 1;
        })
    };
    // Until the pipe is full and the thread waits for its reader.
    while writer.flush(Duration::from_millis(50)) {
        send(10);
    }
    let (began, before) = (Instant::now(), writer.dropped());
    send(10_000);
    assert!(began.elapsed() < SOON, "writing waited for the reader");
    assert!(writer.dropped() - before >= 10_000 - 16, "only the queue had room");

    let reader = BufReader::new(File::open(&path).expect("open"));
    let read = thread::spawn(move || {
        let lines = reader.lines().map(|line| line.expect("line")).take_while(|line| line != "end");
        lines.inspect(|line| assert_eq!(line.len(), 999)).count() as u64
    });
    while !writer.flush(SOON) {}
    let dropped = writer.dropped();
    writer.write(b"end\n");
    assert_eq!(read.join().expect("reader") + dropped, sent);
}

#[test]
fn a_full_queue_is_told_although_its_thread_is_stuck() {
    let directory = TempDir::new().expect("tempdir");
    let (reporter, losses) = noting(Duration::from_secs(3600));
    let writer = LineWriter::start_with("test", Output::File(pipe(&directory)), Queues::new(4, 0), reporter)
        .expect("start");
    let line = [&[b'x'; 4095][..], b"\n"].concat();
    while writer.flush(Duration::from_millis(50)) {
        writer.write(&line);
    }
    while writer.dropped() < 10 {
        writer.write(&line);
    }
    let losses = losses.lock();
    assert_eq!(losses.len(), 1);
    assert_eq!(losses[0], Loss { log: "test", lines: 1, reason: "the queue is full".to_owned() });
}

#[test]
fn long_lines_are_bounded_by_their_bytes() {
    let directory = TempDir::new().expect("tempdir");
    let writer = file_writer(&pipe(&directory), 1_000_000);
    let line = vec![b'x'; 1 << 20];
    for _ in 0..200 {
        writer.write(&line);
    }
    // One batch is with the thread, 64 MiB wait.
    assert!((130..=136).contains(&writer.dropped()), "{}", writer.dropped());
}

#[test]
fn a_full_disk_drops_lines_counts_them_and_is_told_once() {
    let (reporter, losses) = noting(Duration::from_secs(3600));
    let writer =
        LineWriter::start_with("test", Output::File("/dev/full".into()), Queues::new(64, 0), reporter)
            .expect("start");
    for _ in 0..10 {
        writer.write(b"lost\n");
        assert!(writer.flush(SOON));
    }
    assert_eq!(writer.dropped(), 10);
    let losses = losses.lock();
    assert_eq!(losses.len(), 1);
    assert_eq!((losses[0].log, losses[0].lines), ("test", 1));
    assert!(losses[0].reason.contains("No space left"), "{}", losses[0].reason);
}

#[test]
fn what_was_lost_since_is_told_later_even_if_nothing_is_written_any_more() {
    let (reporter, losses) = noting(Duration::from_millis(50));
    let writer =
        LineWriter::start_with("test", Output::File("/dev/full".into()), Queues::new(64, 0), reporter)
            .expect("start");
    writer.write(b"one\n");
    assert!(writer.flush(SOON));
    writer.write(b"two\n");
    writer.write(b"three\n");
    let began = Instant::now();
    while losses.lock().iter().map(|loss| loss.lines).sum::<u64>() < 3 {
        assert!(began.elapsed() < SOON, "{:?}", losses.lock());
        thread::yield_now();
    }
}

#[test]
fn a_renamed_file_is_followed_until_it_is_reopened() {
    let directory = TempDir::new().expect("tempdir");
    let (path, old) = (directory.path().join("log"), directory.path().join("log.1"));
    let writer = file_writer(&path, 64);
    writer.write(b"one\n");
    assert!(writer.flush(SOON));
    fs::rename(&path, &old).expect("rename");
    writer.write(b"two\n");
    assert!(writer.flush(SOON));
    writer.reopen();
    writer.write(b"three\n");
    assert!(writer.flush(SOON));
    assert_eq!(lines(&old), ["one", "two"]);
    assert_eq!(lines(&path), ["three"]);
}

#[test]
fn a_file_that_cannot_be_reopened_is_kept() {
    let directory = TempDir::new().expect("tempdir");
    let (inner, moved) = (directory.path().join("inner"), directory.path().join("moved"));
    fs::create_dir(&inner).expect("mkdir");
    let writer = file_writer(&inner.join("log"), 64);
    fs::rename(&inner, &moved).expect("rename");
    writer.reopen();
    writer.write(b"kept\n");
    assert!(writer.flush(SOON));
    assert_eq!(lines(&moved.join("log")), ["kept"]);
    assert_eq!(writer.dropped(), 0);
}

#[test]
fn after_a_full_disk_it_goes_on() {
    let directory = TempDir::new().expect("tempdir");
    let path = directory.path().join("log");
    std::os::unix::fs::symlink("/dev/full", &path).expect("symlink");
    let writer = file_writer(&path, 64);
    writer.write(b"lost\n");
    assert!(writer.flush(SOON));
    fs::remove_file(&path).expect("remove");
    writer.reopen();
    writer.write(b"written\n");
    assert!(writer.flush(SOON));
    assert_eq!(lines(&path), ["written"]);
    assert_eq!(writer.dropped(), 1);
}

#[test]
fn an_output_that_cannot_be_opened_is_named() {
    let error =
        LineWriter::start("test", Output::File("/nowhere/log".into()), 64, 0).err().expect("an error");
    assert!(error.to_string().contains("/nowhere/log"), "{error}");
}

#[test]
fn dropped_it_writes_what_is_queued() {
    let directory = TempDir::new().expect("tempdir");
    let path = directory.path().join("log");
    let writer = file_writer(&path, 64);
    let producer = writer.producer();
    writer.write(b"last but one\n");
    drop(writer);
    producer.write(b"last\n", Instant::now());
    drop(producer);
    let began = Instant::now();
    while lines(&path) != ["last but one", "last"] {
        assert!(began.elapsed() < SOON);
        thread::yield_now();
    }
}

/// Takes or refuses as told, call by call.
struct Scripted {
    takes: VecDeque<Option<usize>>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Write for Scripted {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let Some(limit) = self.takes.pop_front().unwrap_or(Some(usize::MAX)) else {
            return Err(io::ErrorKind::StorageFull.into());
        };
        let taken = &buffer[..buffer.len().min(limit)];
        self.written.lock().extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_torn_line_is_ended_before_the_next() {
    let written = Arc::new(Mutex::new(Vec::new()));
    // Half of the first line, an error; nothing of the second batch; then everything.
    let takes = [Some(3), None, None].into();
    let directory = TempDir::new().expect("tempdir");
    let log = file_writer(&directory.path().join("log"), 64);
    let mut writer = Writer {
        shared: log.open.0.clone(),
        output: Output::Stderr,
        sink: Sink::of(Scripted { takes, written: written.clone() }),
        batch: Batch::default(),
        buffer: Vec::new(),
        torn: false,
        last_error: None,
    };
    for line in ["first\n", "second\n", "third\n"] {
        writer.buffer = line.into();
        writer.write_buffer();
    }
    assert_eq!(String::from_utf8_lossy(&written.lock()), "fir\nthird\n");
    assert_eq!(log.dropped(), 2);
}
