# Edits captions: adds, removes and replaces tags, cleans up, counts. Shows every change first; `undo` takes it back.
# 編輯標籤：增加、刪除、取代、整理、統計；先顯示變更，可用 undo 復原。 / 编辑标签：增加、删除、替换、整理、统计；先显示变更，可用 undo 撤销。
$ErrorActionPreference = "Stop"

# Folder that holds the folders of pictures, each named <repeats>_<trigger> <class>.
# 訓練集資料夾 / 训练集文件夹
$train_data_dir = "./train_data/demo"

# What to do, then its tags or texts: @("add", "night"), @("remove", "hat"), @("method", "2"), @("undo"); captions.cmd --help lists all.
# 要做的事與標籤：count 統計、add 增加、remove 刪除、replace 取代、method 1-5 打標方式、undo 復原 / 要做的事与标签：count 统计、add 增加、remove 删除、replace 替换、method 1-5 打标方式、undo 撤销
$words = @("count")

# Only this folder, by its name or text; "" for all folders.
# 只處理這個概念資料夾，留空為全部 / 只处理这个概念文件夹，留空为全部
$concept = ""

# Methods 2 to 4: what goes in front; "" is the folder's text up to its first space.
# 方式 2-4：放在最前的名稱，留空取自資料夾名稱 / 方式 2-4：放在最前的名称，留空取自文件夹名称
$name = ""

# Method 5: what goes in front; "" is asked for.
# 方式 5：觸發詞，留空會詢問 / 方式 5：触发词，留空会询问
$trigger = ""

# Method 5: tags or groups of tags that the trigger learns: @("hair", "eyes", "red scarf"); @() are the constant ones, asked for.
# 方式 5：要併入觸發詞的標籤或分組，留空取固定不變的標籤 / 方式 5：要并入触发词的标签或分组，留空取固定不变的标签
$learn = @()

# Add in front, not at the end.
# 加在最前面 / 加在最前面
$front = $false

# Remove, replace: the words are regular expressions.
# 以正規表示式比對 / 用正则表达式匹配
$regex = $false

# Undo: give every file its first bytes back.
# 復原全部，回到最初內容 / 撤销全部，回到最初内容
$all = $false

# Add: only where a tagger gave the tag this score or more, 0 to 1; "" is everywhere. tag.cmd must have run before.
# 只加在標籤模型分數達到此值的圖上，留空為全部 / 只加在标签模型分数达到此值的图上，留空为全部
$min_score = ""

# Rare: captions that a tag must stand in to stay.
# 出現次數低於此數的標籤會刪除 / 出现次数低于此数的标签会删除
$min_count = 2

# Propose and method 5: share of captions from which on a tag is constant, 0 to 1.
# 視為固定標籤的比例，0 到 1 / 视为固定标签的比例，0 到 1
$share = 0.8

# Count, pairs and propose: lines of a concept.
# 統計顯示的行數 / 统计显示的行数
$limit = 50

# Ending of the caption files beside the pictures.
# 標籤檔的副檔名 / 标签文件的扩展名
$caption_extension = ".txt"

# Encoding of captions that are neither UTF-8 nor marked, for instance "gbk"; "" is guessed, shown and asked for.
# 非 UTF-8 標籤檔的編碼，例如 "big5"，留空會猜測並詢問 / 非 UTF-8 标签文件的编码，例如 "gbk"，留空会猜测并询问
$caption_encoding = ""

# Only show what would be changed.
# 只顯示變更，不寫入 / 只显示变更，不写入
$dry_run = $false

# Do not ask before text is removed or replaced.
# 刪除或取代前不詢問 / 删除或替换前不询问
$yes = $false

# ---------- Nothing to change below / 以下不需修改 / 以下不需修改 ----------
. "$PSScriptRoot\lib\hand_over.ps1"
Invoke-Engine -Script $PSCommandPath -Command captions -More $args
