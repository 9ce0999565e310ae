"""What failures are called in Chinese: a sentence and the next step for each code. The English sentences are the errors' own."""

from __future__ import annotations

CHINESE = {
    "E_STORE": "向量库无法使用。请确认 Milvus 正在运行，稍后重试；“设置 → 运行状况”里有详情。",
    "E_FINGERPRINT": "这个集合是用另一个向量模型建立的。请换回原来的模型，或运行 `ragstone reindex`。",
    "E_LOCKED": "另一个进程正在写入。请等它结束后重试。",
    "E_CATALOG": "目录数据库损坏，或来自其他版本。请从备份恢复。",
    "E_DISK": "磁盘只读、出错，或打开的文件过多。请检查磁盘后重试。",
    "E_DISK_FULL": "磁盘已满。请释放空间后重试，此前导入的内容都还在。",
    "E_MODEL": "模型缺失或无法加载。请在“设置 → 模型”里测试，管理员可用 `ragstone models pull` 安装。",
    "E_LLM_UNREACHABLE": "连接不上对话模型。请确认模型服务正在运行，以及 llm.base_url 是否正确。",
    "E_LLM_AUTH": "对话模型拒绝了密钥。请管理员更正 llm.api_key。",
    "E_LLM_RATE_LIMIT": "对话模型的请求过多。请稍等片刻再问。",
    "E_LLM_DEADLINE": "对话模型没有在时限内答完。可以重试，或请管理员提高 llm.deadline_s。",
    "E_LLM_PROTOCOL": "对话模型的回复无法解析。请确认 llm.base_url 是兼容 OpenAI 的地址，并以 /v1 之类的版本号结尾。",
    "E_LLM_INCOMPLETE": "对话模型的回复中断了。请重新提问。",
    "E_LLM_TOO_LARGE": "内容超出了对话模型的长度限制。请缩短问题，或减少附件。",
    "E_LLM_REDIRECT": "对话模型的地址跳转到了别处。请管理员更正 llm.base_url。",
    "E_LLM_REFUSED": "对话模型拒绝了请求。请确认 llm.model 填写正确。",
    "E_LLM_NO_TOOLS": "这个对话模型不支持工具调用。请把 agent.tool_calls 设为 text，或换一个模型。",
    "E_LLM_SCHEMA": "对话模型没有按要求的格式回复。请重试，或换一个模型。",
}

# Codes that say too little by themselves: the error's own sentence follows.
LEADS = {
    "E_USAGE": "这一步无法执行",
    "E_SETTINGS": "设置有误",
    "E_FILTER": "筛选条件无法识别",
    "E_SOURCE": "找不到要导入的内容",
    "E_RUNTIME": "操作没有成功",
}

# Sentences of the codes above that people meet on the page: a pattern, and what it is in Chinese.
SENTENCES = (
    (r"A password has (\d+) to (\d+) characters\.", "密码须为 {0} 到 {1} 个字符，用一句短句就很好。"),
    (r"The password is not the one that you have now\.", "当前密码不正确，请重新输入。"),
    (r"Too many tries\.", "尝试次数过多，请等待 15 分钟后再试。"),
    (r"There is a user '([^']*)' already\.", "已有名为 {0} 的用户，请换一个用户名。"),
    (r"There is no user '([^']*)'\.", "没有名为 {0} 的用户。"),
    (r"A user's name has 1 to 64 ", "用户名须为 1 到 64 个字母、数字或 _ . @ -。"),
    (r"A tenant's name has 1 to 32 ", "租户名须为 1 到 32 个小写字母、数字或短横线。"),
    (r"'([^']*)' cannot stand on an access list\.", "“{0}”不能写入访问名单。请使用字母、数字和 _ . @ : + -，例如 u:ann 或 g:staff。"),
    (r"There is no collection '([^']*)'\.", "没有名为“{0}”的集合。"),
    (r"Nothing waits in thread ", "这次运行已没有等待处理的步骤，请刷新页面。"),
    (r"The call (\S+) does not wait any more as it was shown\.", "之前显示的 {0} 调用已不再等待，请重新查看这次运行。"),
    (r"Thread \S+ cannot be read", "这次运行的存档已损坏，请重新开始。"),
    (r"There is no passage of (\d+) words or more", "没有足够长的段落可供出题（至少 {0} 个词）。请先导入文档。"),
    (r"The chat model failed \((E_\w+)\), so this answer consists of sentences from the documents\.", "对话模型出错，回答由文档中的原句组成。"),
    (r"The task is empty\.", "任务是空的，请写明要做什么。"),
    (r"(\S+) holds no answer\.", "{0} 中没有回答。"),
)  # fmt: skip
