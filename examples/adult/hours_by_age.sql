SELECT LINREG(hours_per_week, age, education_num) AS hours, CHI2(sex, Salary) AS income_by_sex, QUANTILE(age, 0.9) AS oldest
FROM adult
