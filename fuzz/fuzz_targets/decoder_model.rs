#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wsstream::fuzzing::decoder_model(data));
