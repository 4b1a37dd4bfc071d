# Writes captions of pictures with a tagger, a text file beside each picture. Captions that are there already stay as they are.
# 用標籤模型為圖片打標，已有的標籤檔不會變動。 / 用标签模型为图片打标，已有的标签文件不会变动。
#
# Texts and paths stand between quotes; "" is nothing. $true is on, $false is off. Relative paths count from the product's folder.
# 文字與路徑放在引號內，"" 表示不設定；$true 開，$false 關；相對路徑從程式資料夾算起。
# 文字与路径放在引号内，"" 表示不设置；$true 开，$false 关；相对路径从程序文件夹算起。
$ErrorActionPreference = "Stop"

# Folder of pictures: its own, and those in its <repeats>_<trigger> folders.
# 圖片資料夾 / 图片文件夹
$train_data_dir = "./train_data/demo"

# Which tagger: wd-swinv2-v3, wd-v1-4-swinv2-v2, moat, wd-eva02-large-v3, pixai-1.0, cl-tagger-1.02, camie-v2, joytag and others.
# 標籤模型 / 标签模型
$repo_id = "wd-swinv2-v3"

# Trigger word, put in front of the tags; "" for none.
# 觸發詞，放在最前面 / 触发词，放在最前面
$trigger = ""

# Lowest score of a tag that is written, 0 to 1; "" is the tagger's own: 0.35, and 0.85 for characters.
# 閾值，留空用模型預設：0.35，角色 0.85 / 阈值，留空用模型默认：0.35，角色 0.85
$thresh = ""

# The same for general tags alone.
# 一般標籤的閾值 / 一般标签的阈值
$general_threshold = ""

# The same for characters alone.
# 角色標籤的閾值 / 角色标签的阈值
$character_threshold = ""

# The same for works (series), which some taggers know. The next three are left away where they are "".
# 作品的閾值 / 作品的阈值
$copyright_threshold = ""

# For artists.
# 畫師的閾值，留空則不寫 / 画师的阈值，留空则不写
$artist_threshold = ""

# For meta tags such as highres.
# 元標籤的閾值，留空則不寫 / 元标签的阈值，留空则不写
$meta_threshold = ""

# For tags of image models.
# 模型標籤的閾值，留空則不寫 / 模型标签的阈值，留空则不写
$model_threshold = ""

# Single tags with a threshold of their own: "long hair=0.6, smile=0.2".
# 個別標籤的閾值 / 单个标签的阈值
$tag_thresholds = ""

# Categories whose tags are written: @("general", "character"); @() is general, character, copyright and those with a threshold.
# 要寫入的類別 / 要写入的类别
$categories = @()

# Spaces for underscores, as prompts have them: long hair, not long_hair.
# 底線換成空格 / 下划线换成空格
$remove_underscore = $true

# Tags that are left away, with commas between them.
# 不要的標籤，以逗號分隔 / 不要的标签，以逗号分隔
$undesired_tags = ""

# Tags that are written as others: "old,new;old,new".
# 標籤替換，舊,新;舊,新 / 标签替换，旧,新;旧,新
$tag_replacement = ""

# Tags that go to the front where they are found: "1girl, solo".
# 有則放到最前面的標籤 / 有则放到最前面的标签
$always_first_tags = ""

# Characters before all other tags.
# 角色標籤在前 / 角色标签在前
$character_tags_first = $false

# Order of the tags: score, model (as it lists them) or name.
# 標籤順序：score 分數、model 模型順序、name 名稱 / 标签顺序：score 分数、model 模型顺序、name 名称
$order = "score"

# At most so many tags; 0 is all.
# 最多幾個標籤，0 為不限 / 最多几个标签，0 为不限
$max_tags = 0

# What stands between two tags.
# 標籤分隔符 / 标签分隔符
$caption_separator = ", "

# Add the tags to captions that exist.
# 附加到已有的標籤檔 / 追加到已有的标签文件
$append_tags = $false

# Write captions that exist anew; "captions undo" brings the old ones back.
# 覆寫已有的標籤檔，可用 captions undo 復原 / 覆盖已有的标签文件，可用 captions undo 撤销
$overwrite = $false

# The pictures of all folders below, too.
# 包含所有子資料夾 / 包含所有子文件夹
$recursive = $false

# Show how often each tag was given.
# 顯示標籤出現次數 / 显示标签出现次数
$frequency_tags = $true

# The likeliest rating (general, sensitive, questionable, explicit) as the first tag.
# 分級標籤放在最前 / 分级标签放在最前
$use_rating_tags = $false

# The likeliest rating (general, sensitive, questionable, explicit) as the last tag.
# 分級標籤放在最後 / 分级标签放在最后
$use_rating_tags_as_last_tag = $false

# The likeliest quality as the first tag, where the tagger knows qualities.
# 品質標籤放在最前 / 质量标签放在最前
$use_quality_tags = $false

# The same as the last tag.
# 品質標籤放在最後 / 质量标签放在最后
$use_quality_tags_as_last_tag = $false

# Characters as two tags: saber_(fate) becomes saber, fate.
# 角色標籤拆成角色與作品 / 角色标签拆成角色与作品
$character_tag_expand = $false

# Ending of the caption files beside the pictures.
# 標籤檔的副檔名 / 标签文件的扩展名
$caption_extension = ".txt"

# Pictures that the tagger looks at together.
# 每批圖片數 / 每批图片数
$batch_size = 4

# Threads that decode pictures; 0 is as many as there are processors.
# 讀圖執行緒數，0 為自動 / 读图线程数，0 为自动
$max_data_loader_n_workers = 0

# Folder of the taggers; "" is models\taggers.
# 標籤模型資料夾，留空為 models\taggers / 标签模型文件夹，留空为 models\taggers
$model_dir = ""

# Download the tagger again.
# 重新下載模型 / 重新下载模型
$force_download = $false

# One file for all captions, .json or .jsonl, in place of a file beside each picture; "" for none.
# 改寫入單一 .json 或 .jsonl 檔，留空為各圖一檔 / 改写入单一 .json 或 .jsonl 文件，留空为各图一文件
$output_path = ""

# Show each picture's tags with their scores.
# 顯示每張圖的標籤與分數 / 显示每张图的标签与分数
$debug = $false

# Folder where scores are kept, so that other thresholds need no second look.
# 分數快取資料夾 / 分数缓存文件夹
$cache_dir = "./cache"

# Use the processor, although a graphics card could be used.
# 只用處理器 / 只用处理器
$cpu = $false

# ---------- Nothing to change below / 以下不需修改 / 以下不需修改 ----------
. "$PSScriptRoot\lib\hand_over.ps1"
Invoke-Engine -Script $PSCommandPath -Command tag -More $args
