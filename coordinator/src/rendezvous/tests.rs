use tokio::time::Instant;
use tonic::Code;

use super::*;

const FENCE: Fence = Fence(7);
const LIFE: Incarnation = Incarnation(1_000);

/// The store of one gang of two, and the folder that it keeps its keys in.
struct Meeting {
    folder: tempfile::TempDir,
    store: Arc<Rendezvous>,
}

impl std::ops::Deref for Meeting {
    type Target = Arc<Rendezvous>;

    fn deref(&self) -> &Self::Target {
        &self.store
    }
}

fn gang() -> Vec<(Fence, Seats)> {
    let seats = (0..2).map(|rank| (Rank(rank), worker(rank), LIFE));
    vec![(FENCE, seats.collect())]
}

fn rendezvous() -> Meeting {
    let folder = tempfile::tempdir().unwrap();
    let store = Rendezvous::reopen(folder.path().to_owned(), gang()).unwrap();
    Meeting {
        folder,
        store: Arc::new(store),
    }
}

impl Meeting {
    /// The coordinator dies and is started again.
    fn restart(self, live: Vec<(Fence, Seats)>) -> Self {
        drop(self.store);
        let store = Rendezvous::reopen(self.folder.path().to_owned(), live).unwrap();
        Self {
            folder: self.folder,
            store: Arc::new(store),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_in_the_middle_of_a_meeting_loses_no_key_and_adds_nothing_twice() {
    let before = rendezvous();
    ask(&before, request(0, 1, set("address/0", b"here"))).await;
    ask(&before, request(0, 2, add("met", 1))).await;
    let set_again = set("address/0", b"there");
    ask(&before, request(0, 3, set_again)).await;
    // what was being written when it died has not been answered
    let log = before.folder.path().join(FENCE.to_string());
    let whole = std::fs::read(&log).unwrap();
    std::fs::write(&log, [&whole[..], &whole[..5]].concat()).unwrap();

    let after = before.restart(gang());
    let waiting = ask(&after, request(1, 1, get("address/0", 10))).await;
    assert_eq!(waiting, value(b"there"));
    // the answer to this one got lost with the process, so its worker asks again
    assert_eq!(
        ask(&after, request(0, 2, add("met", 1))).await,
        Answer::Counter(1)
    );
    assert_eq!(
        ask(&after, request(1, 2, add("met", 1))).await,
        Answer::Counter(2)
    );

    let again = after.restart(gang());
    assert_eq!(
        ask(&again, request(1, 3, add("met", 0))).await,
        Answer::Counter(2)
    );
    again.close(FENCE);
    assert!(!log.exists(), "nobody needs it any more");
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_an_attempt_that_is_over_is_removed() {
    let before = rendezvous();
    ask(&before, request(0, 1, set("a", b"one"))).await;
    let log = before.folder.path().join(FENCE.to_string());
    assert!(log.exists());
    let after = before.restart(Vec::new());
    assert!(!log.exists());
    let status = refused(&after, request(0, 1, set("a", b"one"))).await;
    assert_eq!(status.code(), Code::Aborted, "{status}");
}

fn worker(rank: u32) -> WorkerId {
    WorkerId::new(format!("w{rank}")).unwrap()
}

fn request(rank: u32, request: u64, ask: Ask) -> v1::StoreRequest {
    v1::StoreRequest {
        worker: worker(rank).to_string(),
        incarnation: LIFE.0,
        fence: FENCE.0,
        rank,
        request,
        ask: Some(ask),
    }
}

fn set(key: &str, value: &[u8]) -> Ask {
    let (key, value) = (key.to_owned(), value.to_vec());
    Ask::Set(v1::StoreSet { key, value })
}

fn get(key: &str, timeout_ms: u64) -> Ask {
    let key = key.to_owned();
    Ask::Get(v1::StoreGet { key, timeout_ms })
}

fn add(key: &str, amount: i64) -> Ask {
    let key = key.to_owned();
    Ask::Add(v1::StoreAdd { key, amount })
}

fn names(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

fn check(keys: &[&str]) -> Ask {
    let keys = names(keys);
    Ask::Check(v1::StoreCheck { keys })
}

fn wait(keys: &[&str], timeout_ms: u64) -> Ask {
    let keys = names(keys);
    Ask::Wait(v1::StoreWait { keys, timeout_ms })
}

fn value(bytes: &[u8]) -> Answer {
    Answer::Value(bytes.to_vec())
}

fn done() -> Answer {
    Answer::Done(v1::StoreDone {})
}

fn failed(answer: Answer) -> String {
    match answer {
        Answer::Failed(why) => why,
        other => panic!("expected a failure, found {other:?}"),
    }
}

async fn ask(rendezvous: &Rendezvous, of: v1::StoreRequest) -> Answer {
    rendezvous.ask(of).await.unwrap().answer.unwrap()
}

async fn refused(rendezvous: &Rendezvous, of: v1::StoreRequest) -> Status {
    rendezvous.ask(of).await.unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn what_one_rank_sets_the_other_gets() {
    let rendezvous = rendezvous();
    assert_eq!(
        ask(&rendezvous, request(0, 1, set("a", b"one"))).await,
        done()
    );
    assert_eq!(
        ask(&rendezvous, request(1, 1, get("a", 0))).await,
        value(b"one")
    );
    for (keys, there) in [(&["a"][..], true), (&["a", "b"], false), (&[], true)] {
        let answer = ask(&rendezvous, request(1, 2, check(keys))).await;
        assert_eq!(answer, Answer::Truth(there), "{keys:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_waits_for_its_keys_and_is_answered_at_once_when_they_come() {
    let rendezvous = rendezvous();
    let begun = Instant::now();
    let asked: Vec<_> = [get("a", 30_000), wait(&["a", "b"], 30_000)]
        .into_iter()
        .map(|what| {
            let rendezvous = Arc::clone(&rendezvous.store);
            tokio::spawn(async move { ask(&rendezvous, request(1, 1, what)).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(5)).await;
    ask(&rendezvous, request(0, 1, set("a", b"x"))).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(asked[0].is_finished());
    assert!(!asked[1].is_finished());
    ask(&rendezvous, request(0, 2, add("b", 1))).await;
    let mut answers = Vec::new();
    for asked in asked {
        answers.push(asked.await.unwrap());
    }
    assert_eq!(answers, [value(b"x"), done()]);
    assert_eq!(begun.elapsed(), Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_question_gives_up_after_its_own_timeout_and_names_the_key() {
    let rendezvous = rendezvous();
    let begun = Instant::now();
    ask(&rendezvous, request(0, 1, set("ranks/0", b""))).await;
    let keys = ["ranks/0", "ranks/1"];
    let why = failed(ask(&rendezvous, request(0, 2, wait(&keys, 30_000))).await);
    assert_eq!(why, "no key ranks/1 within 30s");
    assert_eq!(begun.elapsed(), Duration::from_secs(30));
    let why = failed(ask(&rendezvous, request(0, 3, get("x", 0))).await);
    assert_eq!(why, "no key x within 0ns");
}

#[tokio::test(start_paused = true)]
async fn asking_again_changes_nothing_again() {
    let rendezvous = rendezvous();
    for _ in 0..3 {
        let answer = ask(&rendezvous, request(0, 1, add("n", 5))).await;
        assert_eq!(answer, Answer::Counter(5));
    }
    // the same number of another rank is another question
    let answer = ask(&rendezvous, request(1, 1, add("n", -7))).await;
    assert_eq!(answer, Answer::Counter(-2));
    assert_eq!(
        ask(&rendezvous, request(1, 2, get("n", 0))).await,
        value(b"-2")
    );

    ask(&rendezvous, request(0, 2, set("a", b"old"))).await;
    ask(&rendezvous, request(1, 3, set("a", b"new"))).await;
    ask(&rendezvous, request(0, 2, set("a", b"old"))).await;
    assert_eq!(
        ask(&rendezvous, request(0, 3, get("a", 0))).await,
        value(b"new")
    );
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_attempt_wakes_whoever_waits() {
    let rendezvous = rendezvous();
    let waiting = tokio::spawn({
        let rendezvous = Arc::clone(&rendezvous.store);
        async move { refused(&rendezvous, request(0, 1, get("never", 3_600_000))).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    rendezvous.close(FENCE);
    let begun = Instant::now();
    assert_eq!(waiting.await.unwrap().code(), Code::Aborted);
    assert_eq!(begun.elapsed(), Duration::ZERO);
    let late = refused(&rendezvous, request(0, 2, set("a", b""))).await;
    assert_eq!(
        (late.code(), late.message()),
        (Code::Aborted, "attempt 7 is over, or never was")
    );
}

#[tokio::test(start_paused = true)]
async fn who_is_not_in_the_gang_is_refused() {
    let rendezvous = rendezvous();
    let good = request(0, 1, set("a", b""));
    let wrong = [
        v1::StoreRequest {
            fence: 6,
            ..good.clone()
        },
        v1::StoreRequest {
            rank: 2,
            ..good.clone()
        },
        v1::StoreRequest {
            rank: 1,
            ..good.clone()
        },
        v1::StoreRequest {
            worker: "w1".to_owned(),
            ..good.clone()
        },
        v1::StoreRequest {
            incarnation: 999,
            ..good.clone()
        },
    ];
    for wrong in wrong {
        let status = refused(&rendezvous, wrong.clone()).await;
        assert_eq!(status.code(), Code::Aborted, "{wrong:?}");
    }
    let nothing = v1::StoreRequest { ask: None, ..good };
    let status = refused(&rendezvous, nothing).await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(
        ask(&rendezvous, request(0, 1, check(&["a"]))).await,
        Answer::Truth(false)
    );
}

#[tokio::test(start_paused = true)]
async fn opening_again_keeps_the_keys_and_a_new_attempt_has_none() {
    let rendezvous = rendezvous();
    ask(&rendezvous, request(0, 1, set("a", b"one"))).await;
    rendezvous.open(FENCE, vec![]);
    assert_eq!(
        ask(&rendezvous, request(1, 1, get("a", 0))).await,
        value(b"one")
    );
    rendezvous.open(FENCE.next(), vec![(Rank(0), worker(0), LIFE)]);
    let next = v1::StoreRequest {
        fence: FENCE.next().0,
        ..request(0, 2, check(&["a"]))
    };
    assert_eq!(ask(&rendezvous, next).await, Answer::Truth(false));
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_is_refused_and_changes_nothing() {
    let rendezvous = rendezvous();
    let long = "k".repeat(LONGEST_KEY + 1);
    let why = failed(ask(&rendezvous, request(0, 1, set(&long, b""))).await);
    assert_eq!(why, "a key of 1025 bytes, at most 1024");
    let large = vec![0; LARGEST_VALUE + 1];
    let why = failed(ask(&rendezvous, request(0, 2, set("a", &large))).await);
    assert_eq!(why, "a value of 1048577 bytes for a, at most 1048576");
    ask(&rendezvous, request(0, 3, set("text", b"x"))).await;
    let why = failed(ask(&rendezvous, request(0, 4, add("text", 1))).await);
    assert_eq!(why, "the value of text is no number to add to");
    ask(&rendezvous, request(0, 5, add("n", i64::MAX))).await;
    let why = failed(ask(&rendezvous, request(0, 6, add("n", 1))).await);
    assert!(why.contains("too large"), "{why}");
    let there = ask(&rendezvous, request(0, 7, check(&["a"]))).await;
    assert_eq!(there, Answer::Truth(false));
}

#[test]
fn a_board_has_a_limit_of_keys_and_bytes() {
    let mut board = Board::default();
    for key in 0..MOST_KEYS {
        board.put(key.to_string(), vec![]).unwrap();
    }
    let why = board.put("one more".to_owned(), vec![]).unwrap_err();
    assert_eq!(why, "no room for one more: 100000 keys already");
    board.put("0".to_owned(), vec![1]).unwrap();

    let mut board = Board::default();
    for key in 0..MOST_BYTES / LARGEST_VALUE - 1 {
        board.put(key.to_string(), vec![0; LARGEST_VALUE]).unwrap();
    }
    // replacing takes no further room
    board.put("0".to_owned(), vec![0; LARGEST_VALUE]).unwrap();
    let full = board.put("last".to_owned(), vec![0; LARGEST_VALUE]);
    assert!(full.unwrap_err().contains("no room for last"));
    assert_eq!(
        board.bytes,
        board
            .keys
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum::<usize>()
    );
}

#[test]
fn only_the_latest_answers_of_a_rank_are_remembered() {
    let mut board = Board::default();
    for request in 0..3 * REMEMBERED as u64 {
        board.remember(Rank(0), request, done());
    }
    assert_eq!(board.done[&Rank(0)].len(), REMEMBERED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_is_lost() {
    let rendezvous = rendezvous();
    let meeting = async {
        for round in 0..500_u64 {
            let key = round.to_string();
            let asked = tokio::spawn({
                let rendezvous = Arc::clone(&rendezvous.store);
                let of = request(1, round, get(&key, 3_600_000));
                async move { ask(&rendezvous, of).await }
            });
            ask(&rendezvous, request(0, round, set(&key, b"x"))).await;
            assert_eq!(asked.await.unwrap(), value(b"x"));
        }
    };
    tokio::time::timeout(Duration::from_secs(30), meeting)
        .await
        .unwrap();
}
