//! Any operations on a store and on a plain model. What fails is made as short as it can be, and printed.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::operation::{Content, GROUPS, KEYS, Length, Operation, Place, Time, When, Which};
use crate::run::Run;
use crate::setup::Setup;

const CASES: u32 = 600;
const SEED: u64 = 4;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if crate::full() { 20 * CASES } else { CASES },
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(SEED),
        max_shrink_iters: 4000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_operations_agree_with_a_plain_model(setup in any::<u8>(), operations in vec(operation(), 1..400)) {
        let mut run = Run::new(Setup::of(setup));
        for (step, operation) in operations.iter().enumerate() {
            run.context = format!("step {step}: {operation:?}");
            run.step(operation);
        }
    }
}

fn operation() -> impl Strategy<Value = Operation> {
    let on_one_key = prop_oneof![
        20 => place().prop_map(Operation::Get),
        30 => (place(), content(), any::<u32>(), when(), time())
            .prop_map(|(place, content, flags, when, time)| Operation::Set { place, content, flags, when, time }),
        6 => (place(), which()).prop_map(|(place, which)| Operation::Delete { place, which }),
        6 => (place(), time()).prop_map(|(place, time)| Operation::Touch { place, time }),
        6 => (place(), number(), option::of(number()), time())
            .prop_map(|(place, delta, initial, time)| Operation::Increment { place, delta, initial, time }),
        10 => (place(), content(), any::<bool>())
            .prop_map(|(place, content, front)| Operation::Extend { place, content, front }),
        1 => (place(), any::<bool>(), any::<bool>())
            .prop_map(|(place, stale, won)| Operation::Mark { place, stale, won }),
    ];
    let on_all = prop_oneof![
        10 => prop_oneof![9 => 0..60u32, 1 => 0..70_000u32].prop_map(|ms| Operation::Wait { ms }),
        3 => (0..GROUPS, vec(0..KEYS, 0..24)).prop_map(|(group, keys)| Operation::GetMany { group, keys }),
        6 => (0..GROUPS, 0..32u8).prop_map(|(group, count)| Operation::Scan { group, count }),
        6 => any::<u8>().prop_map(|steps| Operation::Reclaim { steps }),
        2 => (0..GROUPS, any::<u8>()).prop_map(|(group, part)| Operation::SetBudget { group, part }),
        1 => (0..GROUPS).prop_map(|group| Operation::Invalidate { group }),
        1 => (0..GROUPS, any::<u8>()).prop_map(|(group, policy)| Operation::SetPolicy { group, policy }),
        2 => place().prop_map(Operation::Void),
    ];
    prop_oneof![3 => on_one_key, 1 => on_all]
}

fn place() -> impl Strategy<Value = Place> {
    (0..GROUPS, 0..KEYS).prop_map(|(group, key)| Place { group, key })
}

fn content() -> impl Strategy<Value = Content> {
    let length = prop_oneof![
        1 => any::<u16>().prop_map(Length::Share),
        1 => (u16::MAX - 1..=u16::MAX).prop_map(Length::Share),
        2 => (0..u16::MAX / 4).prop_map(Length::Share),
        4 => (0..6000u16).prop_map(Length::Bytes),
        8 => (0..100u16).prop_map(Length::Bytes),
    ];
    prop_oneof![
        4 => (length, any::<u8>()).prop_map(|(length, seed)| Content::Letters { length, seed }),
        1 => number().prop_map(Content::Number),
    ]
}

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![4 => -200..200i64, 1 => any::<i64>(), 1 => prop_oneof![Just(i64::MIN), Just(i64::MAX)]]
}

fn when() -> impl Strategy<Value = When> {
    prop_oneof![
        12 => Just(When::Always),
        1 => Just(When::Absent),
        1 => Just(When::Present),
        1 => which().prop_map(When::Version),
    ]
}

fn which() -> impl Strategy<Value = Which> {
    prop_oneof![2 => Just(Which::Any), 1 => Just(Which::Same), 1 => Just(Which::Other)]
}

fn time() -> impl Strategy<Value = Time> {
    prop_oneof![
        4 => Just(Time::Default),
        1 => Just(Time::Never),
        1 => (0..400u16).prop_map(|ms| Time::After { ms }),
        1 => (-20..400i16).prop_map(|ms| Time::At { ms }),
        1 => Just(Time::Keep),
    ]
}
