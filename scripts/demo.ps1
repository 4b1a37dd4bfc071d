# Trains the demo: the tiny built-in model learns a creature it has never seen, in about a minute, also without a card.
# 訓練內建範例：內建小模型學會一個從未見過的角色，約一分鐘。 / 训练内置示例：内置小模型学会一个从未见过的角色，约一分钟。
$ErrorActionPreference = "Stop"

# File of settings that is run. Arguments win over it: demo.cmd --seed 7.
# 設定檔，參數優先於它 / 设置文件，参数优先于它
$config_file = "./configs/demo.toml"

# ---------- Nothing to change below / 以下不需修改 / 以下不需修改 ----------
. "$PSScriptRoot\lib\hand_over.ps1"
Invoke-Engine -Script $PSCommandPath -Command train -More $args
