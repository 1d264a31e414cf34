//! Hand-written and generated code give the same bytes and read the same messages.

use larder_protocol::native::{decode_response, generated as pb};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use prost::Message;

use crate::arbitrary;
use crate::support::{
    agree_about_request, agree_about_response, encoded_again, framed, meaning_of_response, response_as_prost,
};

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, rng_seed: RngSeed::Fixed(2), ..ProptestConfig::default() })]

    /// Decoded alike, and encoded again to prost's bytes.
    #[test]
    fn requests(request in arbitrary::request()) {
        agree_about_request(&request.encode_to_vec()).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn responses_are_read_alike(response in arbitrary::response()) {
        agree_about_response(&response.encode_to_vec()).map_err(TestCaseError::fail)?;
    }

    /// Whatever reply an engine can give is encoded to prost's bytes.
    #[test]
    fn responses_are_written_alike(response in arbitrary::response()) {
        let Ok(meaning) = meaning_of_response(&response) else { return Ok(()) };
        let bytes = meaning.encode_to_vec();
        let decoded = decode_response(&bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let Some(frame) = encoded_again(&decoded) else { return Ok(()) };
        prop_assert_eq!(frame, framed(&bytes), "{:?}", response_as_prost(&decoded));
    }
}

#[test]
fn topologies_are_written_alike() {
    for count in [1u32, 3, 40] {
        let nodes = (0..count).map(|index| larder_ring::Node {
            id: format!("node-{index}"),
            address: format!("10.0.0.{index}:7400"),
            shards: 1 + index as u16,
            points: 1024 * (1 + index % 3),
            incarnation: u64::from(index) << 40 | 1,
        });
        let topology = larder_ring::Topology::new(7, 12, nodes.collect()).expect("a topology");
        let mut frame = Vec::new();
        let members = larder_protocol::Members { topology: &topology, joining: &[], draining: topology.nodes() };
        larder_protocol::native::encode_response(&mut frame, 9, 12, &larder_protocol::Reply::Topology(members));

        let sent = pb::Response::decode(&frame[4..]).expect("a response");
        assert_eq!(frame, framed(&sent.encode_to_vec()));
        let Some(pb::response::Result::Topology(result)) = sent.result else { panic!("a topology: {sent:?}") };
        assert_eq!(larder_ring::Topology::try_from(&result).expect("the same topology"), topology);
    }
}
