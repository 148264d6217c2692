//! Proxies as processes, configured as `docs/deploying.md` says.

use std::{
    env, fs,
    io::{self, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use tempfile::TempDir;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Nginx,
    HaProxy,
}

/// What stands in the document, and what is to stand there in a test.
pub(crate) type Change<'a> = (&'a str, &'a str);

/// A proxy at work, ended when dropped.
pub(crate) struct Proxy {
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    process: Child,
    _folder: TempDir,
}

impl Program {
    /// The program's path, if it is installed.
    fn find(self) -> Option<&'static str> {
        let paths = match self {
            Self::Nginx => ["nginx", "/usr/sbin/nginx"],
            Self::HaProxy => ["haproxy", "/usr/sbin/haproxy"],
        };
        let runs = |path: &&str| {
            Command::new(path)
                .arg("-v")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|it| it.success())
        };
        let found = paths.into_iter().find(runs);
        if found.is_none() {
            let why = format!("skipped: `{} -v` does not run, so it cannot be put in front\n", paths[0]);
            assert!(env::var("WSSTREAM_PEERS").is_err(), "{why}");
            // Past the capture of the test's output: whoever runs this is to know.
            io::stderr().write_all(why.as_bytes()).unwrap();
        }
        found
    }

    /// Starts it in front of a server. `pem` is its certificate and key.
    pub(crate) fn start(self, server: SocketAddr, pem: &str, changes: &[Change]) -> Option<Proxy> {
        let path = self.find()?;
        // Somebody else may take the ports in the meantime.
        (0..10).find_map(|_| self.try_start(path, server, pem, changes)).or_else(|| panic!("{path} does not start"))
    }

    fn try_start(self, path: &str, server: SocketAddr, pem: &str, changes: &[Change]) -> Option<Proxy> {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (http, https) = (free_port(), free_port());
        let pem = file("media.example.pem", pem);
        let mut command = Command::new(path);
        match self {
            Self::Nginx => {
                let site = configuration("nginx", changes);
                let site = changed(site, "listen 80;", &format!("listen {http};"));
                let site = changed(site, "listen 443 ssl;", &format!("listen {https} ssl;"));
                let site = changed(site, "server 127.0.0.1:9001;", &format!("server {server};"));
                let site = changed(site, "/etc/ssl/media.example/fullchain.pem", &pem);
                let site = changed(site, "/etc/ssl/media.example/privkey.pem", &pem);
                let site = file("wsstream.conf", &site);
                let folder = folder.path().display();
                let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                    .map(|kind| format!("{kind}_temp_path {folder}/{kind};\n"))
                    .concat();
                let main = format!(
                    "daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr;\n\
                     events {{ worker_connections 64; }}\n\
                     http {{\naccess_log off;\n{temporary}include {site};\n}}\n"
                );
                command.args(["-e", "stderr", "-c", &file("nginx.conf", &main)]);
            }
            Self::HaProxy => {
                let site = configuration("haproxy", changes);
                // It wants two file descriptors for each.
                let site = changed(site, "maxconn 10000\n", "maxconn 100\n");
                let site = changed(site, "bind :80\n", &format!("bind {http}\n"));
                let site = changed(site, "bind :443 ", &format!("bind {https} "));
                let site = changed(site, "/etc/haproxy/media.example.pem", &pem);
                let site = changed(site, "127.0.0.1:9001", &server.to_string());
                command.args(["-db", "-f", &file("haproxy.cfg", &site)]);
            }
        }
        let process = command.stdout(Stdio::null()).spawn().unwrap();
        let mut proxy = Proxy { http, https, process, _folder: folder };
        loop {
            if [http, https].iter().all(|addr| TcpStream::connect(addr).is_ok()) {
                return Some(proxy);
            }
            if proxy.process.try_wait().unwrap().is_some() {
                return None;
            }
            thread::sleep(Duration::from_millis(5)); // until it listens or has ended, however long that takes
        }
    }
}

impl Proxy {
    /// The most memory that it has used so far, in bytes, where the system tells.
    pub(crate) fn peak_memory(&self) -> Option<usize> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?;
        Some(kib.parse::<usize>().ok()? * 1024)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The only block of this language in the document, changed for the test.
fn configuration(language: &str, changes: &[Change]) -> String {
    let document = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/deploying.md")).unwrap();
    let fence = format!("```{language}\n");
    let mut blocks = document.split(&fence).skip(1);
    let block = blocks.next().expect("the document has a configuration").split("```").next().unwrap().to_owned();
    assert!(blocks.next().is_none(), "which one is tested?");
    changes.iter().fold(block, |block, (from, to)| changed(block, from, to))
}

#[track_caller]
fn changed(text: String, from: &str, to: &str) -> String {
    assert!(text.contains(from), "docs/deploying.md has no {from:?} any more");
    text.replace(from, to)
}

/// A port of this machine that was free a moment ago.
fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
