"""Words of signing in."""

from __future__ import annotations

WORDS = {
    "sign_in": ("Sign in", "登录"),
    "sign_out": ("Sign out", "退出登录"),
    "hint": ("Sign in to ask your documents.", "登录后即可向文档提问。"),
    "wrong": ("Name and password do not fit. Try again.", "用户名或密码不正确，请重试。"),
    "tries": ("Too many tries. Wait 15 minutes, then try again.", "尝试次数过多，请等待 15 分钟后再试。"),
    "signed_out": ("You are signed out", "您已退出登录"),
    "provider": ("Sign in with your organisation", "使用单位账号登录"),
    "with_password": ("Sign in with a password", "使用密码登录"),
    "unknown": ("{name} may not come in here. Ask an admin to let you in.", "{name} 没有访问权限，请联系管理员。"),
    "not_set_up": (
        "Sign-in is not set up. The person who runs this server finds the reason in its log.",
        "登录尚未配置好，服务器管理员可在日志中查看原因。",
    ),
    "name": ("Name", "用户名"),
    "password": ("Password", "密码"),
}
