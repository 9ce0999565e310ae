"""Words of signing in."""

from __future__ import annotations

WORDS = {
    "sign_in": ("Sign in", "登录"),
    "sign_out": ("Sign out", "退出登录"),
    "hint": ("Sign in to ask your documents.", "登录后即可向文档提问。"),
    "wrong": ("Name and password do not fit. Try again.", "用户名或密码不正确，请重试。"),
    "tries": ("Too many tries. Wait 15 minutes, then try again.", "尝试次数过多，请等待 15 分钟后再试。"),
    "signed_out": ("You are signed out", "您已退出登录"),
    "name": ("Name", "用户名"),
    "password": ("Password", "密码"),
}
