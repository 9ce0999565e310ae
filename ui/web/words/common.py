"""Words that all pages share."""

from __future__ import annotations

WORDS = {
    "collection": ("Collection", "集合"),
    # Streamlit's uploader says these itself in English
    "upload": ("Upload", "上传文件"),
    "upload_folder": ("Upload directories", "上传文件夹"),
    "upload_limit": ("{mb}MB per file", "每个文件不超过 {mb} MB"),
    "drop": ("Drag and drop files here", "把文件拖到这里"),
    "drop_folder": ("Drag and drop directories here", "把文件夹拖到这里"),
    "skip": ("Skip to main content", "跳到主要内容"),
    "bug": (
        "Something went wrong that should not have. The log of `ragstone ui` has the details.",
        "出现了不应发生的错误，详情见 `ragstone ui` 的日志。",
    ),
}
