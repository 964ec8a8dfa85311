#![no_main]

#[path = "../checks/hdf5.rs"]
mod check;

libfuzzer_sys::fuzz_target!(
    // A panic of the reader below is caught and becomes an error; libFuzzer's hook would abort before. A panic that is not caught
    // still ends the run, and the check's own are shown.
    init: std::panic::set_hook(Box::new(|panic| {
        if panic.location().is_some_and(|place| place.file().contains("checks")) {
            eprintln!("{panic}");
        }
    })),
    |input: &[u8]| check::check(input)
);
