use std::collections::BTreeMap;
use std::thread;

use proptest::prelude::*;

use super::*;

const SCOPE: (u64, u64) = (1, 2);

fn key(prompt: &str) -> Key<'_> {
    Key { scope: SCOPE, prompt, limit: None }
}

fn text(cache: &AnswerCache, prompt: &str, now: Instant) -> Option<(String, f64)> {
    cache.find(key(prompt), now).map(|found| (found.text().to_owned(), found.similarity))
}

#[test]
fn the_same_question_goes_before_a_like_one_and_that_before_one_less_like() {
    let (cache, now) = (AnswerCache::new(), Instant::now());
    let base = "a b c d e f g h i j";
    cache.insert(key(&format!("{base} k")), "eleven", now);
    cache.insert(key(&format!("{base} k l")), "twelve", now);
    assert_eq!(text(&cache, &format!("{base} k"), now), Some(("eleven".into(), 1.0)));
    let (best, similarity) = text(&cache, base, now).unwrap();
    assert_eq!((&*best, similarity > 0.9), ("eleven", true));
    assert_eq!(text(&cache, "z y x w v", now), None);
    // The same words are as good as the same prompt, but that one is the answer to this.
    cache.insert(key(&format!("k {base}")), "turned", now);
    assert_eq!(text(&cache, &format!("{base} k"), now), Some(("eleven".into(), 1.0)));
}

#[test]
fn nobody_gets_the_answer_to_another_scope() {
    let (cache, now) = (AnswerCache::new(), Instant::now());
    cache.insert(key("what is rust"), "a language", now);
    for scope in [(1, 3), (3, 2)] {
        assert!(cache.find(Key { scope, ..key("what is rust") }, now).is_none());
        assert!(cache.find(Key { scope, ..key("what is Rust?") }, now).is_none());
    }
}

#[test]
fn an_answer_grows_old_and_a_newer_one_takes_its_place() {
    let (cache, start) = (AnswerCache::new().max_age(Duration::from_secs(10)), Instant::now());
    cache.insert(key("q"), "old", start);
    let later = start + Duration::from_secs(9);
    assert_eq!(cache.find(key("q"), later).unwrap().age, Duration::from_secs(9));
    assert_eq!(text(&cache, "Q!", start + Duration::from_secs(10)), None);
    cache.insert(key("q"), "new", later);
    assert_eq!(text(&cache, "q", start + Duration::from_secs(10)), Some(("new".into(), 1.0)));
    cache.clear();
    assert!(cache.is_empty() && text(&cache, "q", later).is_none());
}

#[test]
fn similarity_may_be_switched_off_and_lowered() {
    let now = Instant::now();
    for (least, like) in [(1.1, false), (1.0, true), (0.5, true)] {
        let cache = AnswerCache::new().similarity(least);
        cache.insert(key("what is rust"), "a language", now);
        assert_eq!(text(&cache, "What is Rust?", now).is_some(), like, "{least}");
        assert!(text(&cache, "what is rust", now).is_some());
    }
}

/// Any two prompts were as alike as is no number.
#[test]
fn what_is_no_number_makes_nothing_alike() {
    let (cache, now) = (AnswerCache::new().similarity(f64::NAN), Instant::now());
    cache.insert(key("a b c d e f g h i j k l"), "twelve", now);
    assert_eq!(text(&cache, "a b c d e f g h i j k", now), None);
    assert!(text(&cache, "a b c d e f g h i j k l", now).is_some(), "but the same is");
}

/// What the index of `cache` would hold if there were nothing in it but what is remembered.
fn is_tidy(cache: &AnswerCache) -> bool {
    let store = cache.store();
    store.places() == store.len() * (1 + signature::BANDS)
}

#[test]
fn is_bounded_in_bytes_and_keeps_what_was_given_last() {
    let (cache, now) = (AnswerCache::new().max_bytes(256 * 1024), Instant::now());
    for number in 0..5_000 {
        cache.insert(key(&format!("question number {number}")), &"x".repeat(1000), now);
        // Asked over and over.
        cache.insert(key("how are you?"), "fine", now);
    }
    let weight = cache.store().weight();
    assert!((250 * 1024..=256 * 1024).contains(&weight), "{weight}");
    assert!(cache.len() > 100 && is_tidy(&cache));
    for number in 0..5_000 {
        let found = text(&cache, &format!("question number {number}"), now);
        assert_eq!(found.is_some(), number > 5_000 - cache.len(), "{number}");
    }
    assert!(text(&cache, "how are you?", now).is_some());
}

#[test]
fn what_is_too_long_is_not_remembered_and_drives_nothing_out() {
    let (cache, now) = (AnswerCache::new().max_bytes(MAX_TEXT as u64), Instant::now());
    cache.insert(key("short"), "yes", now);
    cache.insert(key("long"), &"x".repeat(MAX_TEXT + 1), now);
    cache.insert(key(&"x".repeat(MAX_TEXT + 1)), "long", now);
    // As long as may be, and above all that there is together with its question.
    cache.insert(key("long"), &"x".repeat(MAX_TEXT), now);
    assert_eq!((cache.len(), text(&cache, "long", now)), (1, None));
    let nothing = AnswerCache::new().max_bytes(0);
    nothing.insert(key("short"), "yes", now);
    assert!(nothing.is_empty());
}

#[test]
fn a_long_prompt_is_found_by_itself_only() {
    let (cache, now) = (AnswerCache::new(), Instant::now());
    let long = "word ".repeat(MAX_LIKE / 5 + 1);
    cache.insert(key(&long), "yes", now);
    assert_eq!(text(&cache, &long, now), Some(("yes".into(), 1.0)));
    assert_eq!(text(&cache, "word", now), None);
    assert_eq!(text(&cache, &format!("{long}!"), now), None);
}

/// A caller who wanted one token got five thousand.
#[test]
fn nobody_gets_a_longer_answer_than_was_asked_for() {
    let now = Instant::now();
    for (given, asked, will_do) in [
        (None, None, true),
        (None, Some(100), false),
        (Some(200), Some(100), false),
        (Some(100), Some(100), true),
        (Some(50), Some(100), true),
        (Some(100), None, true),
        // Ten bytes are at most ten tokens.
        (None, Some(10), true),
        (None, Some(9), false),
        (Some(9), Some(9), true),
        (Some(0), Some(0), true),
    ] {
        let cache = AnswerCache::new();
        let text =
            if asked.is_some_and(|asked| asked < 20) { "0123456789" } else { &"0123456789".repeat(50) };
        cache.insert(Key { limit: given, ..key("tell me") }, text, now);
        for prompt in ["tell me", "Tell me!"] {
            let found = cache.find(Key { limit: asked, ..key(prompt) }, now);
            assert_eq!(found.is_some(), will_do, "given {given:?}, asked {asked:?}");
        }
    }
}

#[test]
fn what_is_forgotten_replaced_or_grown_old_leaves_nothing_in_the_index() {
    let (cache, start) = (AnswerCache::new().max_age(Duration::from_secs(10)), Instant::now());
    for number in 0..100 {
        cache.insert(key(&format!("question {}", letters(number % 10))), &number.to_string(), start);
    }
    assert_eq!((cache.len(), is_tidy(&cache)), (10, true));
    assert_eq!(text(&cache, "question a", start), Some(("90".into(), 1.0)));
    cache.insert(key("another"), "yes", start + Duration::from_secs(10));
    assert_eq!((cache.len(), is_tidy(&cache)), (1, true));
    cache.clear();
    let store = cache.store();
    assert_eq!((store.places(), store.weight()), (0, 0));
}

/// Questions as people ask them: few words are in most, most words in few.
fn questions(seed: u64) -> impl FnMut() -> Vec<String> {
    let mut random = fastrand::Rng::with_seed(seed);
    move || {
        let length = random.usize(6..16);
        (0..length).map(|_| letters((20_000f64.powf(random.f64()) - 1.0) as u32)).collect()
    }
}

/// The same question with one word exchanged, and how like it is.
fn changed(question: &[String]) -> String {
    let mut changed = question.to_vec();
    changed[3] = "zzzzz".to_owned();
    changed.join(" ")
}

/// Nine of ten were not found: the index knew 16 384 answers of the 200 000 that were remembered.
#[test]
fn finds_what_is_alike_among_a_hundred_thousand() {
    const ANSWERS: usize = 100_000;
    let (cache, now) = (AnswerCache::new().max_bytes(256 * 1024 * 1024), Instant::now());
    let mut next = questions(11);
    let mut sample = Vec::new();
    for number in 0..ANSWERS {
        let question = next();
        cache.insert(key(&question.join(" ")), &number.to_string(), now);
        if number % 100 == 0 {
            sample.push((number.to_string(), question));
        }
    }
    assert!(cache.len() > ANSWERS * 99 / 100, "few are the same: {}", cache.len());
    let (mut alike, mut found) = (0, 0);
    for (answer, question) in sample {
        let asked = changed(&question);
        let words = |text: &str| Words::of(text, &cache.0.secret);
        let similarity = words(&question.join(" ")).similarity(&words(&asked));
        if similarity >= 0.8 {
            alike += 1;
            // Or another one that is no less like it.
            let is_found =
                text(&cache, &asked, now).is_some_and(|(text, best)| text == answer || best >= similarity);
            found += usize::from(is_found);
        }
    }
    assert!(alike > 400 && found * 1000 >= alike * 995, "{found} of {alike}");
}

#[test]
fn of_many_that_are_equally_alike_the_latest_is_found() {
    let (cache, start) = (AnswerCache::new(), Instant::now());
    let template = "please write a short and friendly letter that says no to";
    for number in 0..1_000 {
        let now = start + Duration::from_secs(number.into());
        cache.insert(key(&format!("{template} {}", letters(10_000 + number))), &number.to_string(), now);
    }
    let asked = format!("{template} them");
    let found = cache.find(key(&asked), start + Duration::from_secs(1_000)).unwrap();
    assert_eq!(found.text(), "999");
    assert!(
        cache.store().like(cache.drawers(key(&asked), cache.words(key(&asked)).as_ref()).like()).len() < 50
    );
}

#[test]
fn several_threads_remember_and_find_at_once() {
    let (cache, now) = (AnswerCache::new().max_bytes(512 * 1024), Instant::now());
    thread::scope(|scope| {
        for thread in 0..4 {
            let cache = cache.clone();
            scope.spawn(move || {
                let mut next = questions(thread % 2);
                for round in 0..1_000 {
                    let question = next().join(" ");
                    cache.insert(key(&question), &question, now);
                    // Another may have forgotten it at once, but not made it the answer to something else.
                    let like = format!("{question} again");
                    let found = [&question, &like].map(|asked| text(&cache, asked, now));
                    let words = Words::of(&question, &cache.0.secret);
                    for (found, _) in found.into_iter().flatten() {
                        let similarity = words.similarity(&Words::of(&found, &cache.0.secret));
                        assert!(similarity > 0.7, "{found} for {question}");
                    }
                    if round % 400 == 399 {
                        cache.clear();
                    }
                }
            });
        }
    });
    let store = cache.store();
    assert!(store.weight() <= 512 * 1024 && store.len() > 10);
    drop(store);
    assert!(is_tidy(&cache));
    cache.clear();
    assert_eq!(cache.store().places(), 0);
}

#[test]
fn nothing_of_a_prompt_or_an_answer_shows() {
    let (cache, now) = (AnswerCache::new(), Instant::now());
    cache.insert(key("secret question"), "secret answer", now);
    let shown = format!("{cache:?} {:?}", cache.find(key("secret question"), now));
    assert!(!shown.contains("secret"), "{shown}");
}

/// A word for a number.
fn letters(mut number: u32) -> String {
    let mut word = String::new();
    while number > 0 || word.is_empty() {
        word.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
    }
    word
}

/// What is done to a cache.
#[derive(Clone, Debug)]
enum Step {
    Give { question: u8, length: usize },
    Wait(u8),
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (any::<u8>(), 0usize..2000).prop_map(|(question, length)| Step::Give { question, length }),
        5 => (0u8..20).prop_map(Step::Wait),
        1 => Just(Step::Clear),
    ]
}

proptest! {
    /// The index finds what a look at everything would have found, but for the few that signatures miss.
    #[test]
    fn finds_what_is_alike_among_many(
        seed in any::<u64>(), length in 10usize..60, changed in 0usize..4, crowd in 0usize..40,
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut sentence = |words: usize| -> Vec<String> {
            (0..words).map(|_| letters(random.u32(0..5_000))).collect()
        };
        let (cache, now) = (AnswerCache::new(), Instant::now());
        let mut original = sentence(length);
        cache.insert(key(&original.join(" ")), "found", now);
        for _ in 0..crowd {
            cache.insert(key(&sentence(length).join(" ")), "crowd", now);
        }
        let before = Words::of(&original.join(" "), &cache.0.secret);
        for word in original.iter_mut().take(changed) {
            *word += "x";
        }
        let asked = original.join(" ");
        let similarity = before.similarity(&Words::of(&asked, &cache.0.secret));
        let found = text(&cache, &asked, now);
        if similarity >= 0.9 {
            prop_assert_eq!(found, Some(("found".into(), similarity)));
        } else if similarity < 0.8 {
            prop_assert_eq!(found, None);
        }
    }

    /// Whatever is given, replaced, outgrown, grown old and forgotten: it holds the latest, within its bounds, and its
    /// index those and nobody else.
    #[test]
    fn holds_the_latest_within_its_bounds(steps in prop::collection::vec(step(), 1..200)) {
        const AGE: Duration = Duration::from_secs(30);
        let cache = AnswerCache::new().max_bytes(20_000).max_age(AGE);
        let mut now = Instant::now();
        // The latest answer to each question, by when it was given.
        let mut model: BTreeMap<u8, (usize, Instant, usize)> = BTreeMap::new();
        for (turn, step) in steps.into_iter().enumerate() {
            match step {
                Step::Give { question, length } => {
                    let prompt = format!("question {}", letters(question.into()));
                    cache.insert(key(&prompt), &"x".repeat(length), now);
                    model.insert(question, (turn, now, length));
                }
                Step::Wait(seconds) => now += Duration::from_secs(seconds.into()),
                Step::Clear => {
                    cache.clear();
                    model.clear();
                }
            }
            prop_assert!(is_tidy(&cache) && cache.store().weight() <= 20_000);
            let mut latest: Vec<_> = model.iter().filter(|(_, (_, given, _))| now - *given < AGE).collect();
            latest.sort_by_key(|(_, (turn, ..))| std::cmp::Reverse(*turn));
            let found: Vec<bool> = latest
                .iter()
                .map(|(question, (_, _, length))| {
                    let prompt = format!("question {}", letters((**question).into()));
                    text(&cache, &prompt, now).is_some_and(|(text, same)| same == 1.0 && text.len() == *length)
                })
                .collect();
            prop_assert!(found.is_sorted_by_key(|found| !found), "what is older is gone before: {:?}", found);
            prop_assert!(found.first().is_none_or(|found| *found));
        }
    }
}
