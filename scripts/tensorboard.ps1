# Shows the logs of training in the browser, on this machine alone. Ctrl-C ends it.
# 在瀏覽器檢視訓練記錄，按 Ctrl-C 結束。 / 在浏览器查看训练日志，按 Ctrl-C 结束。
$ErrorActionPreference = "Stop"

# Folder of the logs, as logging_dir in train.ps1.
# 記錄資料夾 / 日志文件夹
$logging_dir = "./logs"

# The first port to try; the next free one is taken.
# 起始連接埠 / 起始端口
$port = 6006

# Open the page in the browser.
# 自動開啟瀏覽器 / 自动打开浏览器
$open_browser = $true

# ---------- Nothing to change below / 以下不需修改 / 以下不需修改 ----------
. "$PSScriptRoot\lib\hand_over.ps1"
Invoke-Engine -Script $PSCommandPath -Command tensorboard -More $args
