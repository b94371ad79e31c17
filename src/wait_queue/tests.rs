//! Random histories, on one thread against a model and on several at once.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::AtomicBool;
use std::task::Wake;

use proptest::prelude::*;
use tokio::task::JoinSet;

use super::*;

/// A request that wants one permit.
struct Client {
    number: usize,
    priority: Priority,
    place: Option<Place>,
    permit: Option<LimitPermit>,
    flag: Arc<Flag>,
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Served,
    Waits,
    Refused,
    Shed,
}

impl Client {
    fn new(number: usize, priority: Priority) -> Self {
        Self { number, priority, place: None, permit: None, flag: Arc::default() }
    }

    fn step(
        &mut self,
        limit: &Arc<RequestLimit>,
        most: usize,
        target: Option<Duration>,
        now: Instant,
    ) -> Step {
        let queue = limit.queue();
        let claim = queue.claim(self.place.as_ref(), self.priority, target, now);
        self.permit = if claim == Claim::Try { limit.take() } else { None };
        if self.permit.is_some() {
            self.place.take().into_iter().for_each(Place::leave);
            return Step::Served;
        }
        match claim {
            Claim::Shed => Step::Shed,
            _ if queue.enter(&mut self.place, self.priority, WaitsFor::Pool, most, now) => Step::Waits,
            _ => Step::Refused,
        }
    }

    fn is_called(&self) -> bool {
        let waker = Waker::from(self.flag.clone());
        let turn = self.place.as_ref().expect("it waits").turn();
        turn.poll_called(&mut Context::from_waker(&waker)).is_ready()
    }
}

/// Steps all that are called until nobody is; returns the numbers of those that were served, in order.
fn settle(
    waiting: &mut Vec<Client>,
    served: &mut Vec<Client>,
    limit: &Arc<RequestLimit>,
    most: usize,
) -> Vec<usize> {
    let mut order = Vec::new();
    // The newest of those that are called is the first to come.
    while let Some(at) = waiting.iter().rposition(Client::is_called) {
        match waiting[at].step(limit, most, None, Instant::now()) {
            Step::Served => {
                order.push(waiting[at].number);
                served.push(waiting.remove(at));
            }
            Step::Waits => {}
            Step::Refused | Step::Shed => drop(waiting.remove(at)),
        }
    }
    order
}

#[derive(Debug, Clone)]
enum Event {
    Arrives(Priority),
    /// Of those that wait, the one with that number modulo their count leaves.
    Leaves(usize),
    Ends(usize),
    Limit(usize),
    AskAgain,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => prop_oneof![Just(Priority::High), Just(Priority::Normal), Just(Priority::Low)].prop_map(Event::Arrives),
        2 => any::<usize>().prop_map(Event::Leaves),
        5 => any::<usize>().prop_map(Event::Ends),
        1 => (1..6_usize).prop_map(Event::Limit),
        1 => Just(Event::AskAgain),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Against a plain model: a list of those that wait, of which the first by priority and arrival is next.
    #[test]
    fn the_queue_is_what_it_should_be(most in 0..8_usize, events in prop::collection::vec(event(), 1..60)) {
        let limit = Arc::new(RequestLimit::default());
        let mut permits = 2;
        limit.set(Some(permits));
        let (mut waiting, mut served): (Vec<Client>, Vec<Client>) = Default::default();
        let mut model: Vec<(Priority, usize)> = Vec::new();
        for (number, event) in events.into_iter().enumerate() {
            let mut expected = Vec::new();
            let mut got = Vec::new();
            match event {
                Event::Arrives(priority) => {
                    let mut client = Client::new(number, priority);
                    match client.step(&limit, most, None, Instant::now()) {
                        Step::Served => { served.push(client); got.push(number); }
                        Step::Waits => waiting.push(client),
                        Step::Refused | Step::Shed => {}
                    }
                    let busy = served.len() - got.len();
                    let may_try = model.iter().all(|(other, _)| *other > priority);
                    if busy < permits && may_try {
                        expected.push(number);
                    } else if model.len() < most {
                        model.push((priority, number));
                    } else if let Some(last) = model.iter().max().copied().filter(|last| last.0 > priority) {
                        model.retain(|other| *other != last);
                        model.push((priority, number));
                    }
                }
                Event::Leaves(at) if !waiting.is_empty() => {
                    let gone = waiting.remove(at % waiting.len());
                    model.retain(|(_, number)| *number != gone.number);
                }
                Event::Ends(at) if !served.is_empty() => drop(served.remove(at % served.len())),
                Event::Limit(new) => {
                    permits = new;
                    limit.set(Some(new));
                    limit.queue().ask_again();
                }
                Event::AskAgain => limit.queue().ask_again(),
                Event::Leaves(_) | Event::Ends(_) => {}
            }
            let mut busy = served.len() + expected.len() - got.len();
            while busy < permits && let Some(next) = model.iter().min().copied() {
                model.retain(|other| *other != next);
                expected.push(next.1);
                busy += 1;
            }
            got.extend(settle(&mut waiting, &mut served, &limit, most));
            prop_assert_eq!(got, expected);
            let mut left: Vec<_> = waiting.iter().map(|client| client.number).collect();
            let mut model_left: Vec<_> = model.iter().map(|(_, number)| *number).collect();
            left.sort_unstable();
            model_left.sort_unstable();
            prop_assert_eq!(left, model_left);
            prop_assert!(limit.queue().len() <= most && limit.in_flight() == served.len());
        }
        drop((waiting, served));
        prop_assert_eq!((limit.in_flight(), limit.queue().len()), (0, 0));
        prop_assert!(!limit.queue().is_waited_in(Priority::Low));
    }
}

/// What the visits of all threads have in common.
#[derive(Default)]
struct Shared {
    limit: Arc<RequestLimit>,
    inside: AtomicUsize,
    highest: AtomicUsize,
    served: AtomicUsize,
}

/// One request of several threads; every fifth is impatient.
async fn visit(shared: Arc<Shared>, number: usize) {
    let mut client = Client::new(number, Priority::ALL[number % 3]);
    loop {
        match client.step(&shared.limit, usize::MAX, None, Instant::now()) {
            Step::Served => break,
            Step::Waits => {}
            step => panic!("{step:?}"),
        }
        let turn = client.place.as_ref().expect("it waits").turn();
        let called = poll_fn(|context| turn.poll_called(context).map(drop));
        let patience = Duration::from_millis(if number.is_multiple_of(5) { 1 } else { 20_000 });
        if tokio::time::timeout(patience, called).await.is_err() {
            assert!(number.is_multiple_of(5), "{number} is forgotten");
            return;
        }
    }
    shared.highest.fetch_max(shared.inside.fetch_add(1, SeqCst) + 1, SeqCst);
    for _ in 0..number % 4 {
        tokio::task::yield_now().await;
    }
    shared.inside.fetch_sub(1, SeqCst);
    drop(client);
    shared.served.fetch_add(1, SeqCst);
}

/// Many tasks on several threads: never more in flight than may be, and everybody is served in the end.
#[test]
fn nobody_is_lost_over_all_threads() {
    const MOST: usize = 3;
    let shared = Arc::new(Shared::default());
    shared.limit.set(Some(MOST));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let shared = &shared;
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
                runtime.expect("a runtime").block_on(async {
                    for round in 0..200 {
                        let numbers = (0..20).map(|number| round + number * 7 + thread);
                        let visits: JoinSet<()> =
                            numbers.map(|number| visit(shared.clone(), number)).collect();
                        visits.join_all().await;
                    }
                });
            });
        }
    });
    let queue = shared.limit.queue();
    assert_eq!((shared.highest.load(SeqCst), shared.limit.in_flight(), queue.len()), (MOST, 0, 0));
    assert!(shared.served.load(SeqCst) > 12_000, "{:?}", shared.served);
}

/// A pool on a virtual clock: what is served, how long it has waited, and what is refused, by priority.
struct Load {
    /// Requests in a millisecond, by priority.
    rates: [f64; 3],
    permits: usize,
    service: Duration,
}

struct Figures {
    /// How long those that were served had waited, in milliseconds, once it has gone on for two seconds.
    waited: Vec<u64>,
    refused: usize,
}

impl Load {
    fn run(&self, seconds: u64) -> [Figures; 3] {
        let (limit, begun) = (Arc::new(RequestLimit::default()), Instant::now());
        limit.set(Some(self.permits));
        let mut waiting: Vec<(Client, Instant)> = Vec::new();
        let mut running: VecDeque<(Client, Instant)> = VecDeque::new();
        let figures = RefCell::new([(); 3].map(|()| Figures { waited: Vec::new(), refused: 0 }));
        let mut owed = [0.0; 3];
        for millis in 0..seconds * 1000 {
            let now = begun + Duration::from_millis(millis);
            while running.front().is_some_and(|(_, end)| *end <= now) {
                running.pop_front();
            }
            for (priority, owed) in Priority::ALL.into_iter().zip(&mut owed) {
                // Uneven, and the same in each run.
                *owed += self.rates[priority as usize] * ((millis * 7919 % 13) as f64 / 6.0);
                while *owed >= 1.0 {
                    *owed -= 1.0;
                    waiting.push((Client::new(waiting.len(), priority), now));
                }
            }
            let mut goes_on = true;
            while std::mem::take(&mut goes_on) {
                let mut kept = Vec::new();
                for (mut client, since) in waiting.drain(..) {
                    if client.place.is_some() && !client.is_called() {
                        kept.push((client, since));
                        continue;
                    }
                    let of = &mut figures.borrow_mut()[client.priority as usize];
                    match client.step(&limit, 100, Some(Duration::from_millis(5)), now) {
                        Step::Served => {
                            of.waited.push((now - since).as_millis() as u64);
                            running.push_back((client, now + self.service));
                        }
                        Step::Waits if now - since < Duration::from_secs(1) => kept.push((client, since)),
                        Step::Waits | Step::Refused | Step::Shed => of.refused += 1,
                    }
                    goes_on = true;
                }
                waiting = kept;
                goes_on &= waiting.iter().any(|(client, _)| client.is_called());
            }
        }
        let mut figures = figures.into_inner();
        for of in &mut figures {
            of.waited.drain(..of.waited.len() / 10);
        }
        figures
    }
}

fn percentile(waited: &[u64], part: f64) -> u64 {
    let mut sorted = waited.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() as f64 * part) as usize]
}

/// Twice what can be served, half of that of high priority.
#[test]
fn under_overload_what_is_served_is_served_fresh() {
    for (permits, service) in [(10, 20), (10, 100), (2, 40)] {
        let capacity = permits as f64 / service as f64;
        let rates = [0.5 * capacity, capacity, 0.5 * capacity];
        let load = Load { rates, permits, service: Duration::from_millis(service) };
        let [high, normal, low] = load.run(20);
        let served = high.waited.len() + normal.waited.len() + low.waited.len();
        let goodput = served as f64 / (capacity * 18_000.0);
        assert!(goodput > 0.95, "{goodput}");
        assert_eq!(high.refused, 0, "{permits} {service}");
        assert!(percentile(&high.waited, 0.99) <= 2 * service, "{}", percentile(&high.waited, 0.99));
        assert!(
            percentile(&normal.waited, 0.99) <= 2 * service + 100,
            "{}",
            percentile(&normal.waited, 0.99)
        );
    }
}

/// As much as can be served, in bursts.
#[test]
fn a_burst_is_served_whole() {
    let load = Load { rates: [0.0, 0.3, 0.0], permits: 10, service: Duration::from_millis(20) };
    let [_, normal, _] = load.run(20);
    assert_eq!(normal.refused, 0);
}

#[test]
fn a_place_is_kept_for_who_may_come_back() {
    let (limit, now) = (Arc::new(RequestLimit::default()), Instant::now());
    let queue = limit.queue();
    let mut first = queue.join(Priority::Normal, WaitsFor::HealthyEndpoint, 1, now).expect("there is room");
    assert_eq!(first.claim(None, now), Claim::Try);
    first.step_out();
    assert!(!queue.is_waited_in(Priority::Low) && queue.len() == 1);
    assert!(queue.join(Priority::Normal, WaitsFor::HealthyEndpoint, 1, now).is_none());
    let mut second = queue.join(Priority::Normal, WaitsFor::Pool, 2, now).expect("there is room");
    assert_eq!((second.claim(None, now), second.claim(None, now)), (Claim::Try, Claim::Wait));
    first.wait_for(WaitsFor::Pool, now);
    queue.call_next();
    assert_eq!((first.claim(None, now), second.claim(None, now)), (Claim::Try, Claim::Wait));
    drop(first);
    second.wait_for(WaitsFor::Pool, now);
    second.step_out();
    second.leave();
    assert_eq!(queue.status(), QueueStatus { waits: 2, full: 1, ..QueueStatus::default() });
}

/// Who waits for what is not there passes its call on, and does not get it back.
#[test]
fn a_call_goes_to_who_may_need_it() {
    let (limit, now) = (Arc::new(RequestLimit::default()), Instant::now());
    let queue = limit.queue();
    let [healthy, room] = [WaitsFor::HealthyEndpoint, WaitsFor::Pool];
    let first = queue.join(Priority::Normal, healthy, 9, now).expect("there is room");
    let second = queue.join(Priority::Normal, room, 9, now).expect("there is room");
    assert!(!first.turn().try_only_if(|| false));
    queue.call_next();
    assert_eq!(second.claim(None, now), Claim::Wait);
    assert!(!first.turn().try_only_if(|| false));
    assert_eq!((first.claim(None, now), second.claim(None, now)), (Claim::Wait, Claim::Try));
    queue.call_next();
    drop(first);
    assert_eq!(second.claim(None, now), Claim::Try, "who leaves passes it on, too");
}

#[test]
fn nobody_overtakes_who_has_been_called() {
    let (limit, now) = (Arc::new(RequestLimit::default()), Instant::now());
    limit.set(Some(2));
    let (one, other) = (limit.take(), limit.take());
    let queue = limit.queue();
    let [first, second] =
        [(); 2].map(|()| queue.join(Priority::Normal, WaitsFor::Pool, 9, now).expect("there is room"));
    assert_eq!((first.claim(None, now), second.claim(None, now)), (Claim::Try, Claim::Wait));
    drop((one, other));
    assert_eq!(second.claim(None, now), Claim::Wait, "it is not its turn, though there is room for both");
    assert_eq!(first.claim(None, now), Claim::Try);
    let _permit = limit.take().expect("there is room");
    first.leave();
    assert_eq!(second.claim(None, now), Claim::Try);
}
