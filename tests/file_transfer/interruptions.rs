//! Transfers that break off and go on where they stopped.

use std::{fs, path::Path, process::Output};

use crate::program::{
    Folders, MIB, Running, Server, assert_error, assert_same, beginning, names, report, wait_for_part, wait_until,
};

/// Slow enough to be interrupted.
const SLOW: [&str; 2] = ["--limit-rate", "16MiB"];

/// The server is not waited for.
const AT_ONCE: [&str; 2] = ["--retry-for", "0"];

/// Runs a command until the transfer before it is over for the server as well.
fn once_free(mut run: impl FnMut() -> Output) -> Output {
    let mut last = run();
    wait_until("the end of the last transfer", || {
        let is_busy = String::from_utf8_lossy(&last.stderr).contains("another transfer to this name");
        if is_busy {
            last = run();
        }
        !is_busy
    });
    last
}

fn resumed_at(output: Output) -> u64 {
    report(output)["resumed_at"].as_u64().unwrap()
}

#[test]
fn an_upload_goes_on_after_the_client_was_killed() {
    let folders = Folders::new();
    let server = Server::start(&folders.served, &SLOW);
    let target = folders.served.join("file");
    fs::write(&target, "old").unwrap();
    for flags in [&[][..], &["--one-frame"]] {
        let file = folders.random("file", 24 * MIB);
        let mut put = Running::start(server.put(&file, "file", flags));
        wait_for_part(&folders.served.join(".file.part"), MIB);
        let before = fs::read(&target).unwrap();
        put.kill();
        assert!(fs::read(&target).unwrap() == before, "the old file is as it was");

        assert!(resumed_at(once_free(|| server.put(&file, "file", flags).output().unwrap())) >= MIB);
        assert_same(&file, &target);
        assert_eq!(names(&folders.served), ["file"]);
    }
}

#[test]
fn a_download_goes_on_after_the_server_was_killed() {
    let folders = Folders::new();
    let file = folders.random("file", 24 * MIB);
    let mut server = Server::start(&folders.mine, &[]);
    let copy = folders.served.join("copy");
    fs::write(&copy, "old").unwrap();
    let get = Running::start(server.get("file", &copy, &[SLOW, AT_ONCE].concat()));
    wait_for_part(&folders.served.join(".copy.part"), MIB);
    server.running.kill();
    assert_error(get.output(), "; run this again to resume");
    assert_eq!(fs::read(&copy).unwrap(), b"old");

    let server = Server::start(&folders.mine, &[]);
    assert!(resumed_at(server.get("file", &copy, &[]).output().unwrap()) >= MIB);
    assert_same(&file, &copy);
    assert_eq!(names(&folders.served), ["copy"]);
}

#[test]
fn an_upload_goes_on_after_the_server_was_killed() {
    let folders = Folders::new();
    let file = folders.random("file", 24 * MIB);
    let mut server = Server::start(&folders.served, &SLOW);
    let put = Running::start(server.put(&file, "file", &AT_ONCE));
    wait_for_part(&folders.served.join(".file.part"), MIB);
    server.running.kill();
    assert_error(put.output(), "; run this again to resume");
    assert_eq!(names(&folders.served), [".file.part"]);

    let server = Server::start(&folders.served, &[]);
    assert!(resumed_at(server.put(&file, "file", &[]).output().unwrap()) >= MIB);
    assert_same(&file, &folders.served.join("file"));
}

/// Nobody does anything but restart the server, twice: once it was killed, once it was told to end.
#[cfg(unix)]
#[test]
fn transfers_outlive_a_server_that_dies_and_comes_back() {
    for flags in [&[][..], &["--one-frame"]] {
        let folders = Folders::new();
        let [up, down] = ["up", "down"].map(|name| folders.random(name, 48 * MIB));
        fs::rename(&down, folders.served.join("down")).unwrap();
        let mut server = Server::start(&folders.served, &SLOW);
        let put = Running::start(server.put(&up, "up", flags));
        let get = Running::start(server.get("down", &down, &[&SLOW, flags].concat()));
        let parts = [folders.served.join(".up.part"), folders.mine.join(".down.part")];
        for (size, is_killed) in [(4 * MIB, true), (16 * MIB, false)] {
            parts.iter().for_each(|part| wait_for_part(part, size));
            let address = server.address.clone();
            match is_killed {
                true => server.running.kill(),
                false => {
                    server.running.interrupt();
                    assert!(server.running.output().status.success());
                }
            }
            server = Server::start_at(&folders.served, &address, &SLOW);
        }
        assert!(resumed_at(put.output()) >= 16 * MIB);
        assert!(resumed_at(get.output()) >= 16 * MIB);
        assert_same(&up, &folders.served.join("up"));
        assert_same(&down, &folders.served.join("down"));
        assert_eq!(names(&folders.served), ["down", "up"]);
    }
}

#[cfg(unix)]
#[test]
fn a_server_that_does_not_come_back_is_given_up_and_so_is_waiting_for_it() {
    let folders = Folders::new();
    let file = folders.random("file", 24 * MIB);
    let lose = |retry_for: &str| {
        let mut server = Server::start(&folders.served, &SLOW);
        let put = Running::start(server.put(&file, "file", &["--retry-for", retry_for]));
        wait_for_part(&folders.served.join(".file.part"), MIB);
        server.running.kill();
        let _ = fs::remove_file(folders.served.join(".file.part"));
        put
    };
    assert_error(lose("1").output(), "the server does not come back");
    let waiting = lose("3600");
    waiting.interrupt();
    assert_error(waiting.output(), "interrupted; run this again to resume");
}

#[cfg(unix)]
#[test]
fn ctrl_c_at_the_server_is_told_to_its_clients() {
    let folders = Folders::new();
    let [up, down] = ["up", "down"].map(|name| folders.random(name, 64 * MIB));
    fs::rename(&down, folders.served.join("down")).unwrap();
    let server = Server::start(&folders.served, &SLOW);
    let put = Running::start(server.put(&up, "up", &AT_ONCE));
    let get = Running::start(server.get("down", &down, &[SLOW, AT_ONCE].concat()));
    wait_for_part(&folders.served.join(".up.part"), MIB);
    wait_for_part(&folders.mine.join(".down.part"), MIB);
    server.running.interrupt();
    for client in [put, get] {
        assert_error(client.output(), "the other end is shutting down; run this again later to resume");
    }
    assert!(server.running.output().status.success());

    let server = Server::start(&folders.served, &[]);
    assert!(resumed_at(server.put(&up, "up", &[]).output().unwrap()) >= MIB);
    assert!(resumed_at(server.get("down", &down, &[]).output().unwrap()) >= MIB);
    assert_same(&up, &folders.served.join("up"));
    assert_same(&down, &folders.served.join("down"));
}

#[cfg(unix)]
#[test]
fn ctrl_c_at_the_client_can_be_resumed() {
    let folders = Folders::new();
    let server = Server::start(&folders.served, &SLOW);
    let file = folders.random("file", 24 * MIB);
    let put = Running::start(server.put(&file, "file", &[]));
    wait_for_part(&folders.served.join(".file.part"), MIB);
    put.interrupt();
    assert_error(put.output(), "interrupted; run this again to resume");
    assert!(resumed_at(once_free(|| server.put(&file, "file", &[]).output().unwrap())) >= MIB);
    assert_same(&file, &folders.served.join("file"));
}

/// Puts and gets with something in the partial file; where either went on.
fn resumed_from(folders: &Folders, file: &Path, part: &[u8]) -> [u64; 2] {
    let server = Server::start(&folders.served, &[]);
    let [target, copy] = [folders.served.join("file"), folders.mine.join("copy")];
    fs::write(folders.served.join(".file.part"), part).unwrap();
    fs::write(folders.mine.join(".copy.part"), part).unwrap();
    let put = resumed_at(server.put(file, "file", &[]).output().unwrap());
    assert_same(file, &target);
    let get = resumed_at(server.get("file", &copy, &[]).output().unwrap());
    assert_same(file, &copy);
    [put, get]
}

#[test]
fn what_is_there_is_used_if_it_is_the_same() {
    let folders = Folders::new();
    let file = folders.random("file", 3 * MIB);
    let whole = fs::read(&file).unwrap();
    assert_eq!(resumed_from(&folders, &file, &beginning(&file, MIB + 1)), [MIB + 1; 2]);
    assert_eq!(resumed_from(&folders, &file, &whole), [3 * MIB; 2], "nothing but the hash was missing");

    let mut tampered = beginning(&file, MIB);
    tampered[1000] ^= 1;
    assert_eq!(resumed_from(&folders, &file, &tampered), [0; 2]);
    assert_eq!(resumed_from(&folders, &file, &[whole, vec![0]].concat()), [0; 2], "longer than the file");
}

#[test]
fn a_changed_source_starts_anew() {
    let folders = Folders::new();
    let server = Server::start(&folders.served, &SLOW);
    let file = folders.random("file", 24 * MIB);
    let mut put = Running::start(server.put(&file, "file", &[]));
    wait_for_part(&folders.served.join(".file.part"), MIB);
    put.kill();
    let changed = folders.random("file", 2 * MIB);
    assert_eq!(resumed_at(once_free(|| server.put(&changed, "file", &[]).output().unwrap())), 0);
    assert_same(&changed, &folders.served.join("file"));
}
