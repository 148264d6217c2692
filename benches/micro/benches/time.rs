//! How long it takes, by criterion.

use std::time::Duration;

use criterion::{Criterion, Throughput};
use wsstream_micro::{Meter, Work, run};

struct Clock(Criterion);

impl Meter for Clock {
    fn wants(&mut self, _: &str) -> bool {
        true // criterion applies its filter itself
    }

    fn measure<T>(&mut self, name: &str, work: Work, mut case: impl FnMut() -> T) {
        let (group, function) = name.split_once('/').unwrap_or((name, ""));
        let mut group = self.0.benchmark_group(group);
        group.throughput(match work {
            Work { messages, bytes: 0 } => Throughput::Elements(messages),
            Work { messages, bytes } => Throughput::ElementsAndBytes { elements: messages, bytes },
        });
        group.bench_function(function, |bencher| bencher.iter(&mut case));
        group.finish();
    }
}

fn main() {
    // Shorter than criterion's own 3 s and 5 s: there are many cases, and what they do is the same each time.
    let criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut clock = Clock(criterion);
    run(&mut clock);
    clock.0.final_summary();
}
