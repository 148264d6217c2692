//! Transfers that cannot be: one line that says why, and the old file untouched.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    net::TcpStream,
};

use sha2::{Digest, Sha256};
use wsstream::{MessageKind, WebSocketStream};

use crate::program::{
    Folders, MIB, Running, Server, assert_error, assert_same, command, names, report, wait_for_part, wait_until,
};

/// The status that a request for exactly this path is answered with: clients tidy up URLs before they send them.
fn status_of(server: &Server, path: &str, protocol: &str) -> u16 {
    let mut tcp = TcpStream::connect(&server.address).unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n",
        server.address
    );
    tcp.write_all(head.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(tcp).read_line(&mut line).unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn names_that_leave_the_folder_are_refused() {
    let folders = Folders::new();
    let secret = folders.mine.join("secret");
    fs::write(&secret, "old").unwrap();
    let server = Server::start(&folders.served, &[]);
    for protocol in ["get.file.v1", "put.file.v1"] {
        for path in [
            "/../mine/secret",
            "/..%2Fmine%2Fsecret",
            "/%2e%2e/mine/secret",
            "/x/../../mine/secret",
            &format!("/{}", secret.display()),
            &format!("/%2F{}", secret.display()),
            "/.secret.part",
            "/..",
        ] {
            assert_eq!(status_of(&server, path, protocol), 403, "{path}");
        }
        for path in ["/", "/a%00b", "/%FF"] {
            assert_eq!(status_of(&server, path, protocol), 400, "{path}");
        }
    }
    assert_eq!(status_of(&server, "/x", "chat"), 400);
    let output = server.put(&secret, "..%2Fmine%2Fsecret", &[]).output().unwrap();
    assert_error(output, "leads out of the served folder; name a file below it");
    assert_eq!(names(&folders.mine), ["secret"]);
    assert_eq!(names(&folders.served), [""; 0]);
}

#[cfg(unix)]
#[test]
fn symbolic_links_that_leave_the_folder_are_refused() {
    use std::os::unix::fs::symlink;
    let folders = Folders::new();
    let secret = folders.mine.join("secret");
    fs::write(&secret, "old").unwrap();
    symlink(&secret, folders.served.join("file")).unwrap();
    symlink(&folders.mine, folders.served.join("folder")).unwrap();
    let server = Server::start(&folders.served, &[]);
    let file = folders.random("file", 1000);
    for name in ["file", "folder/secret", "folder/new"] {
        assert_error(server.put(&file, name, &[]).output().unwrap(), "leads out of the served folder");
        assert_error(server.get(name, &folders.mine.join("copy"), &[]).output().unwrap(), "leads out of");
    }
    assert_eq!(fs::read(&secret).unwrap(), b"old");
    assert_eq!(names(&folders.mine), ["file", "secret"]);
}

#[test]
fn directories_and_missing_files_are_refused() {
    let folders = Folders::new();
    fs::create_dir(folders.served.join("directory")).unwrap();
    let server = Server::start(&folders.served, &[]);
    let file = folders.random("file", 1000);
    let copy = folders.mine.join("copy");
    fs::write(&copy, "old").unwrap();

    for name in ["directory", "directory/"] {
        assert_error(server.put(&file, name, &[]).output().unwrap(), "directory; name a file");
        assert_error(server.get(name, &copy, &[]).output().unwrap(), "directory; name a file");
    }
    assert_error(server.get("missing", &copy, &[]).output().unwrap(), "it does not exist; check the name");
    assert_error(server.put(&file, "missing/file", &[]).output().unwrap(), "it does not exist; check the name");
    assert_error(server.put(&folders.mine.join("missing"), "x", &[]).output().unwrap(), "it does not exist");
    assert_error(server.put(&folders.mine, "x", &[]).output().unwrap(), "is not a file");
    assert_error(server.get("x", &folders.mine, &[]).output().unwrap(), "the target is a directory");
    assert_eq!(fs::read(&copy).unwrap(), b"old");
    assert_eq!(names(&folders.mine), ["copy", "file"]);
    assert_eq!(names(&folders.served), ["directory"]);
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let folders = Folders::new();
    let file = folders.random("file", 1000);
    let mut server = Server::start(&folders.served, &[]);
    server.running.kill();
    assert_error(server.put(&file, "x", &[]).output().unwrap(), "check the URL and whether the server runs");
    assert_error(command(["serve", "/missing/folder"]).output().unwrap(), "does not exist");
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_said_at_either_end() {
    use crate::program::limited_command;
    let folders = Folders::new();
    let file = folders.random("file", 4 * MIB);
    let [target, copy] = [folders.served.join("file"), folders.mine.join("copy")];
    fs::write(&target, "old").unwrap();
    let served = folders.served.to_str().unwrap();
    let full = Server::run(limited_command(1024, ["serve", served, "--listen", "127.0.0.1:0"]));
    for flags in [&[][..], &["--one-frame"]] {
        assert_error(full.put(&file, "file", flags).output().unwrap(), "no room for the file");
        assert_eq!(fs::read(&target).unwrap(), b"old");
    }

    // What has arrived is kept: with more room it goes on from there.
    let server = Server::start(&folders.served, &[]);
    assert!(report(server.put(&file, "file", &[]).output().unwrap())["resumed_at"].as_u64().unwrap() >= MIB / 2);
    assert_same(&file, &target);

    fs::write(&copy, "old").unwrap();
    let get = limited_command(1024, ["get", &server.url("file"), copy.to_str().unwrap()]).output().unwrap();
    assert_error(get, "no room for the file");
    assert_eq!(fs::read(&copy).unwrap(), b"old");
}

#[test]
fn a_file_for_which_there_is_no_room_is_not_begun() {
    let folders = Folders::new();
    let server = Server::start(&folders.served, &[]);
    let file = folders.mine.join("file");
    let free = fs4::available_space(&folders.served).unwrap();
    // A sparse file, which takes no room at the client.
    if let Err(error) = File::create(&file).unwrap().set_len(free + 1024 * MIB) {
        return eprintln!("skipped: this file system has no sparse files of that size ({error})");
    }
    assert_error(server.put(&file, "file", &[]).output().unwrap(), " to come, ");
    assert_eq!(names(&folders.served), [""; 0]);
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_is_noticed() {
    for flags in [&[][..], &["--one-frame"]] {
        let folders = Folders::new();
        let server = Server::start(&folders.served, &["--limit-rate", "16MiB"]);
        let target = folders.served.join("file");
        fs::write(&target, "old").unwrap();
        let file = folders.random("file", 32 * MIB);
        let put = Running::start(server.put(&file, "file", flags));
        wait_for_part(&folders.served.join(".file.part"), MIB);
        File::options().write(true).open(&file).unwrap().set_len(1000).unwrap();
        assert_error(put.output(), "the file changed while it was sent; run this again");
        assert_eq!(fs::read(&target).unwrap(), b"old");
    }
}

#[test]
fn two_transfers_to_one_name_do_not_mix() {
    let folders = Folders::new();
    let server = Server::start(&folders.served, &["--limit-rate", "16MiB"]);
    let [one, other] = [folders.random("one", 16 * MIB), folders.random("other", MIB)];
    let first = Running::start(server.put(&one, "file", &[]));
    wait_for_part(&folders.served.join(".file.part"), 1);
    assert_error(server.put(&other, "file", &[]).output().unwrap(), "another transfer to this name is going on");
    report(first.output());
    assert_same(&one, &folders.served.join("file"));
}

#[tokio::test]
async fn a_wrong_hash_leaves_the_old_file() {
    let folders = Folders::new();
    let server = Server::start(&folders.served, &[]);
    let target = folders.served.join("file");
    fs::write(&target, "old").unwrap();

    let mut ws = WebSocketStream::connect(server.url("file")).protocols(["put.file.v1"]).await.unwrap();
    ws.send(r#"{"size":3}"#).await.unwrap();
    let have = ws.next_message().await.unwrap().unwrap().collect(1000).await.unwrap();
    assert!(have.as_text().unwrap().contains(r#""bytes":0"#));
    ws.send(r#"{"from":0}"#).await.unwrap();
    let mut message = ws.start_message(MessageKind::Binary).await.unwrap();
    message.write("new").await.unwrap();
    message.finish().await.unwrap();
    let wrong = data_encoding::HEXLOWER.encode(&Sha256::digest("something else"));
    ws.send(format!(r#"{{"sha256":"{wrong}"}}"#)).await.unwrap();
    assert!(ws.next_message().await.unwrap().is_none());
    let info = ws.closed().await.unwrap();
    assert_eq!(u16::from(info.close_code), 4422);
    assert!(info.reason.contains("wrong hash"), "{}", info.reason);
    wait_until("the partial file is gone", || names(&folders.served) == ["file"]);
    assert_eq!(fs::read(&target).unwrap(), b"old");
}
