//! From the path of a URL to a path below the served folder, and nowhere else.

use std::{
    io,
    path::{Component, Path, PathBuf},
};

use http::StatusCode;
use percent_encoding::percent_decode_str;

use crate::{failure::Failure, partial::is_part_name};

/// The file that a request names. `root` is canonical. The folder that the file is in exists; the file may not.
pub(crate) fn resolve(root: &Path, request_path: &str) -> Result<PathBuf, Failure> {
    let name = percent_decode_str(request_path.strip_prefix('/').unwrap_or(request_path));
    let Ok(name) = name.decode_utf8() else {
        return Err(Failure::bad_request("the name is not UTF-8; rename the file"));
    };
    if name.is_empty() || name.contains('\0') {
        return Err(Failure::bad_request("no file is named; use a URL like ws://host:port/NAME"));
    }
    if name.ends_with('/') {
        return Err(directory());
    }
    let relative = Path::new(&*name);
    if !relative.components().all(|component| matches!(component, Component::Normal(_))) {
        return Err(leaves());
    }
    let (Some(folder), Some(file_name)) = (relative.parent(), relative.file_name()) else { return Err(leaves()) };
    if is_part_name(&file_name.to_string_lossy()) {
        let message = "names like .NAME.part are kept for transfers that are going on; choose another name";
        return Err(Failure::new(StatusCode::FORBIDDEN, message));
    }
    // Symbolic links count for what they lead to.
    let folder = root.join(folder).canonicalize().map_err(|error| Failure::io("looking for the folder", &error))?;
    let path = folder.join(file_name);
    match path.canonicalize() {
        Ok(real) if !real.starts_with(root) => Err(leaves()),
        Ok(real) if real.is_dir() => Err(directory()),
        Ok(_) => Ok(path),
        Err(_) if !folder.starts_with(root) => Err(leaves()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path),
        Err(error) => Err(Failure::io("looking for the file", &error)),
    }
}

fn leaves() -> Failure {
    Failure::new(StatusCode::FORBIDDEN, "the name leads out of the served folder; name a file below it")
}

fn directory() -> Failure {
    Failure::new(StatusCode::FORBIDDEN, "this is a directory; name a file")
}
