//! Transfers that go well.

use std::fs;

use crate::program::{Folders, MIB, Running, Server, assert_same, command, names, report};

#[test]
fn files_of_any_size_go_both_ways_in_either_framing() {
    let folders = Folders::new();
    let server = Server::start(&folders.served, &[]);
    for flags in [&[][..], &["--one-frame"]] {
        for size in [0, 1, 256 * 1024, 5 * MIB + 3] {
            let file = folders.random("file", size);
            let put = report(server.put(&file, "copy", flags).output().unwrap());
            assert_same(&file, &folders.served.join("copy"));

            let fetched = folders.mine.join("fetched");
            let get = report(server.get("copy", &fetched, flags).output().unwrap());
            assert_same(&file, &fetched);
            for report in [&put, &get] {
                assert_eq!((&report["bytes"], &report["resumed_at"]), (&size.into(), &0.into()));
            }
            assert_eq!(put["sha256"], get["sha256"]);
        }
    }
    assert_eq!(names(&folders.served), ["copy"], "no partial files stay behind");
    assert_eq!(names(&folders.mine), ["fetched", "file"]);
}

#[test]
fn several_transfers_go_on_at_once() {
    let folders = Folders::new();
    let server = Server::start(&folders.served, &[]);
    let files: Vec<_> =
        (0..6).map(|i| (format!("file {i}"), folders.random(&format!("file {i}"), 2 * MIB + i))).collect();
    let run = |commands: Vec<_>| {
        let running: Vec<_> = commands.into_iter().map(Running::start).collect();
        running.into_iter().for_each(|running| drop(report(running.output())));
    };
    run(files.iter().map(|(name, file)| server.put(file, &name.replace(' ', "%20"), &[])).collect());
    let back = |name: &str| folders.mine.join(format!("{name}, back"));
    run(files.iter().map(|(name, _)| server.get(name, &back(name), &["--one-frame"])).collect());
    for (name, file) in &files {
        assert_same(file, &folders.served.join(name));
        assert_same(file, &back(name));
    }
}

#[test]
fn a_file_in_a_subfolder_is_replaced_and_people_are_told() {
    let folders = Folders::new();
    let server = Server::start(&folders.served, &[]);
    fs::create_dir(folders.served.join("gr\u{fc}n")).unwrap();
    let target = folders.served.join("gr\u{fc}n/file");
    fs::write(&target, "old").unwrap();
    let file = folders.random("file", 1000);
    let url = server.url("gr%C3%BCn/file");
    let output = command(["put", file.to_str().unwrap(), &url]).output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("sent 1000 bytes, "));
    assert_same(&file, &target);
}

#[test]
fn the_demo_verifies_and_takes_little_memory() {
    for flags in [&[][..], &["--one-frame"]] {
        let output = command([&["demo", "--size", "48MiB", "--json"], flags].concat()).output().unwrap();
        let demo = report(output);
        assert_eq!((&demo["bytes"], &demo["verified"]), (&(48 * MIB).into(), &true.into()));
        for rate in ["upload_gb_per_s", "download_gb_per_s"] {
            assert!(demo[rate].as_f64().unwrap() > 0.0);
        }
        for peak in ["server_peak_rss_kib", "client_peak_rss_kib"] {
            // `None` where the system does not tell.
            if let Some(kib) = demo[peak].as_u64() {
                assert!(kib < 16 * 1024, "{peak} is {kib} KiB");
            }
        }
    }
}
