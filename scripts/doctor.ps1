# Says what works on this machine, and why something does not. The text names nobody and can be pasted into a bug report.
# 檢查這台電腦的環境，內容不含個人資料，可貼到問題回報。 / 检查这台电脑的环境，内容不含个人信息，可贴到问题反馈。
$ErrorActionPreference = "Stop"

# Also train a few real steps on the demo, which takes a minute.
# 也實際訓練幾步，約一分鐘 / 也实际训练几步，约一分钟
$run_training = $false

# ---------- Nothing to change below / 以下不需修改 / 以下不需修改 ----------
. "$PSScriptRoot\lib\hand_over.ps1"
Invoke-Engine -Script $PSCommandPath -Command doctor -More $args
