//! memcached's protocol, for libFuzzer. It may only pass bytes on: what they mean is in the library.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    larder_fuzz::memcache(bytes);
});
